"""The long computations, and their rows in results/."""
