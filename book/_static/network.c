// The costly part of network.js, for WebAssembly with SIMD (`make solver`): the layers of lib.networks.Tiramisu in
// float32, and what their derivatives need.
//
// Channels are planes of n x n numbers, n a multiple of 8. A convolution reads them as `fill` arranges them: rows with
// a margin, the rows of all channels side by side, so that what it adds up lies near. The adjoint of a convolution is
// one, too.
//
// Why not TensorFlow.js? Its WebAssembly backend (4.22, one thread) takes 0.03 s for the largest layer, 176 to 16
// channels of 128 x 128, where this takes 0.05 s; but for the derivative with respect to the input it takes 0.45 s, and
// this again 0.05 s. The attack is made of derivatives: half a minute against six seconds, and 2 MB of script against
// 11 kB.
#include <wasm_simd128.h>

#define export(name) __attribute__((export_name(#name)))
enum { MARGIN = 4, OUT = 4 }; // zeros before and after each row; channels that are computed together
typedef float Vector __attribute__((vector_size(16)));

static Vector load(const float *from) { return (Vector)wasm_v128_load(from); }
static void store(float *to, Vector a) { wasm_v128_store(to, (v128_t)a); }
static Vector all(float a) { return (Vector){a, a, a, a}; }
static Vector spread(const float *from) { return (Vector)wasm_v128_load32_splat(from); }
static Vector positive(Vector a) { return (Vector)wasm_f32x4_pmax(wasm_f32x4_splat(0), (v128_t)a); }

// The input of a convolution: x or, where there is a scale, the ReLU of scale x + shift, a pair for each channel.
export(fill) void fill(const float *x, const float *scale, const float *shift, float *to, int channels, int n) {
  int width = n + 2 * MARGIN;
  for (int i = -1; i <= n; i++)
    for (int c = 0; c < channels; c++, to += width) {
      const float *row = x + (c * n + i) * n;
      int inside = i >= 0 && i < n;
      for (int j = -MARGIN; j < n + MARGIN; j += 4) {
        Vector a = all(0);
        if (inside && j >= 0 && j < n) {
          a = load(row + j);
          if (scale) a = positive(all(scale[c]) * a + all(shift[c]));
        }
        store(to + MARGIN + j, a);
      }
    }
}

// `in` channels, arranged by `fill`, to `out` others. The weights of OUT channels lie together, by channel and place.
__attribute__((always_inline)) // for `taps` to be a constant
static inline void convolve(const float *from, const float *weights, const float *bias, float *to, int in, int out,
                            int n, int taps) {
  int width = n + 2 * MARGIN, next = in * width; // the row below is `next` further on
  from += MARGIN + next;
  if (taps == 9) from -= next + 1; // the first of 3 x 3 places is above, left
  for (int i = 0; i < n; i++)
    for (int o = 0; o < out; o += OUT)
      for (int j = 0; j < n; j += 8) {
        Vector sums[OUT][2];
        for (int k = 0; k < OUT; k++) sums[k][0] = sums[k][1] = bias ? all(bias[o + k]) : all(0);
        const float *x = from + i * next + j, *w = weights + o * in * taps;
        for (int c = 0; c < in; c++, x += width)
#pragma clang loop unroll(full)
          for (int tap = 0; tap < taps; tap++, w += OUT) {
            const float *at = x + tap / 3 * next + tap % 3;
            Vector a = load(at), b = load(at + 4);
            for (int k = 0; k < OUT; k++) {
              Vector weight = spread(w + k);
              sums[k][0] += weight * a;
              sums[k][1] += weight * b;
            }
          }
        for (int k = 0; k < OUT; k++) {
          store(to + ((o + k) * n + i) * n + j, sums[k][0]);
          store(to + ((o + k) * n + i) * n + j + 4, sums[k][1]);
        }
      }
}

export(convolve3)
void convolve3(const float *from, const float *w, const float *bias, float *to, int in, int out, int n) {
  convolve(from, w, bias, to, in, out, n, 9);
}

export(convolve1)
void convolve1(const float *from, const float *w, const float *bias, float *to, int in, int out, int n) {
  convolve(from, w, bias, to, in, out, n, 1);
}

// Adds to `gradient` what the one of the ReLU of scale x + shift, `given`, makes of it.
export(rectify)
void rectify(const float *given, const float *x, const float *scale, const float *shift, float *gradient, int channels,
             int n) {
  for (int c = 0, at = 0; c < channels; c++)
    for (int end = at + n * n; at < end; at += 4) {
      Vector seen = all(scale[c]) * load(x + at) + all(shift[c]);
      Vector kept = (Vector)((seen > all(0)) & (__typeof__(seen > seen))load(given + at));
      store(gradient + at, load(gradient + at) + all(scale[c]) * kept);
    }
}

// The largest of each 2 x 2 numbers, and which of them it is.
export(pool) void pool(const float *from, float *to, unsigned char *which, int channels, int n) {
  for (int i = 0, at = 0; i < channels * n; i += 2)
    for (int j = 0; j < n; j += 2, at++) {
      const float *corner = from + i * n + j;
      int best = 0;
      for (int k = 1; k < 4; k++)
        if (corner[k / 2 * n + k % 2] > corner[best / 2 * n + best % 2]) best = k;
      to[at] = corner[best / 2 * n + best % 2];
      which[at] = best;
    }
}

// The adjoint: each number goes to one of 2 x 2 places, or to the first of them, and the others are 0. n is the new side.
export(unpool) void unpool(const float *from, const unsigned char *which, float *to, int channels, int n) {
  for (int i = 0; i < channels * n * n; i += 4) store(to + i, all(0));
  for (int i = 0, at = 0; i < channels * n; i += 2)
    for (int j = 0; j < n; j += 2, at++) {
      int k = which ? which[at] : 0;
      to[(i + k / 2) * n + j + k % 2] = from[at];
    }
}

// The adjoint of that with the first place: every other number of every other row.
export(thin) void thin(const float *from, float *to, int channels, int n) {
  for (int i = 0, at = 0; i < channels * n; i += 2)
    for (int j = 0; j < n; j += 2, at++) to[at] = from[i * n + j];
}
