"""The experiments of Section 4 in numbers: masks, noise levels, methods, and the streams of phantoms."""

from lib.networks import NETWORKS

LINES = (25, 40, 80)  # of the masks
LEVELS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.1)  # of Table 1, relative to the measurements
METHODS = ("tv", *NETWORKS)
# Seeds of the streams of phantoms, each for one use; nothing else may be measured on TEST, or trained with it
CALIBRATION, THEORY, TRAINING, VALIDATION, TEST = 3, 5, 21, 22, 23
