// The costly part of solver.js, for WebAssembly with SIMD (`make solver`): the iteration of lib/tv.py in float32.
//
// An n x n array of complex numbers holds two real images at once: a plane with the real parts, then one with the
// imaginary parts. The mask is even and the norm adds the two parts, so one complex problem is both. Spectra have rows
// and columns swapped, frequency 0 first, and the factor n of the transform below.
#include <wasm_simd128.h>

#define export(name) __attribute__((export_name(#name)))
enum { N = 256, COLUMNS = 8 }; // the largest n; columns transformed together, for which the first cache suffices
typedef float Vector __attribute__((vector_size(16)));
typedef struct { float *re, *im; int length; } Rows; // complex numbers; the next row is `length` further on

static const float RELAXATION = 1.9f;
static int n, size; // size = n n
float root_re[N], root_im[N]; // exp(-2 pi i k / n)
float laplacian[N]; // 4 sin^2(pi k / n)
float x[2 * N * N], r[2 * N * N]; // images; the right-hand side rho grad*(z - u) of an x-update
float data[2 * N * N]; // the spectrum of A*y
float weight[N * N]; // of the data term
float down[2 * N * N], right[2 * N * N]; // v = z + u
static float work[2 * N * N], before[2 * N * N], inverse[N * N], blocks[2][2 * N * COLUMNS], lines[2][N];

static Vector load(const float *from) { return *(const Vector *)from; }
static void store(float *to, Vector a) { *(Vector *)to = a; }
static Vector all(float a) { return (Vector){a, a, a, a}; }
static Vector magnitude(Vector a) { return (Vector)wasm_f32x4_abs((v128_t)a); }
static Vector smaller(Vector a, Vector b) { return (Vector)wasm_f32x4_pmin((v128_t)a, (v128_t)b); }
static Vector larger(Vector a, Vector b) { return (Vector)wasm_f32x4_pmax((v128_t)a, (v128_t)b); }
static Vector clip(Vector a, Vector most) { return larger(smaller(a, most), -most); }
static Vector ahead(Vector a, Vector b) { return __builtin_shufflevector(a, b, 1, 2, 3, 4); }
static Vector behind(Vector a, Vector b) { return __builtin_shufflevector(a, b, 3, 4, 5, 6); }

// --- Fourier transform ----------------------------------------------------------------------------------------------

// A stage of Stockham's transform, radix 4, on COLUMNS columns at once. `plain`: all factors are 1.
static inline void stage4(Rows from, Rows to, int s, const int plain) {
  for (int m = 0; m < n / 4; m++) {
    int k = m & -s, target = m + 3 * k;
    Vector c1 = all(plain ? 1 : root_re[k]), c2 = all(plain ? 1 : root_re[2 * k]), c3 = all(plain ? 1 : root_re[3 * k]);
    Vector s1 = all(plain ? 0 : root_im[k]), s2 = all(plain ? 0 : root_im[2 * k]), s3 = all(plain ? 0 : root_im[3 * k]);
    for (int column = 0; column < COLUMNS; column += 4) {
      const float *re = from.re + m * from.length + column, *im = from.im + m * from.length + column;
      int step = n / 4 * from.length, at = target * to.length + column, next = s * to.length;
      Vector a = load(re), b = load(re + step), c = load(re + 2 * step), d = load(re + 3 * step);
      Vector e = load(im), f = load(im + step), g = load(im + 2 * step), h = load(im + 3 * step);
      Vector p = a + c, q = a - c, t = b + d, u = b - d; // real parts
      Vector v = e + g, w = e - g, y = f + h, z = f - h; // imaginary parts
      store(to.re + at, p + t);
      store(to.im + at, v + y);
      a = q + z, e = w - u; // times exp(-2 pi i k / n), and so on
      store(to.re + at + next, a * c1 - e * s1);
      store(to.im + at + next, a * s1 + e * c1);
      a = p - t, e = v - y;
      store(to.re + at + 2 * next, a * c2 - e * s2);
      store(to.im + at + 2 * next, a * s2 + e * c2);
      a = q - z, e = w + u;
      store(to.re + at + 3 * next, a * c3 - e * s3);
      store(to.im + at + 3 * next, a * s3 + e * c3);
    }
  }
}

// The last stage where n is not a power of 4.
static inline void stage2(Rows from, Rows to) {
  for (int m = 0; m < n / 2; m++)
    for (int column = 0; column < COLUMNS; column += 4) {
      int first = m * from.length + column, second = first + n / 2 * from.length;
      int at = m * to.length + column, next = n / 2 * to.length;
      store(to.re + at, load(from.re + first) + load(from.re + second));
      store(to.im + at, load(from.im + first) + load(from.im + second));
      store(to.re + at + next, load(from.re + first) - load(from.re + second));
      store(to.im + at + next, load(from.im + first) - load(from.im + second));
    }
}

static inline void transpose(const float *from, float *to) { // a block of COLUMNS columns to as many rows
  for (int i = 0; i < COLUMNS; i += 4)
    for (int j = 0; j < n; j += 4) {
      const float *at = from + j * COLUMNS + i;
      Vector a = load(at), b = load(at + COLUMNS), c = load(at + 2 * COLUMNS), d = load(at + 3 * COLUMNS);
      Vector e = __builtin_shufflevector(a, b, 0, 4, 1, 5), f = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      Vector g = __builtin_shufflevector(c, d, 0, 4, 1, 5), h = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      store(to + i * n + j, __builtin_shufflevector(e, g, 0, 1, 4, 5));
      store(to + (i + 1) * n + j, __builtin_shufflevector(e, g, 2, 3, 6, 7));
      store(to + (i + 2) * n + j, __builtin_shufflevector(f, h, 0, 1, 4, 5));
      store(to + (i + 3) * n + j, __builtin_shufflevector(f, h, 2, 3, 6, 7));
    }
}

static Rows block(int which) { return (Rows){blocks[which], blocks[which] + N * COLUMNS, COLUMNS}; }

// Transforms COLUMNS columns, into `last` or, if that is null, into a block.
static inline Rows transformed(Rows now, Rows last) {
  for (int s = 1, which = 0; s < n; s *= 4, which = !which) {
    Rows next = 4 * s >= n && last.re ? last : block(which);
    if (2 * s == n) stage2(now, next);
    else if (4 * s == n) stage4(now, next, s, 1);
    else stage4(now, next, s, 0);
    now = next;
  }
  return now;
}

// (A*A + rho grad* grad)^-1 (A*y + r) in k-space, for a block of columns; the parts swap places, see `backward`.
static inline Rows solved(Rows now, int first) {
  Rows to = block(1);
  for (int i = 0; i < n; i++)
    for (int j = 0; j < COLUMNS; j += 4) {
      int from = i * n + first + j, at = i * COLUMNS + j;
      store(to.re + at, (load(now.re + at) + load(data + from)) * load(inverse + from));
      store(to.im + at, (load(now.im + at) + load(data + size + from)) * load(inverse + from));
    }
  return (Rows){to.im, to.re, COLUMNS};
}

// Transforms all columns, and transposes the result or not. With `solve`, to k-space and back.
static inline void columns(Rows from, Rows to, const int transposed, const int solve) {
  for (int first = 0; first < n; first += COLUMNS) {
    Rows now = {from.re + first, from.im + first, n}, last = {to.re + first, to.im + first, n}, none = {0};
    now = transformed(now, transposed ? none : last);
    if (solve) now = transformed(solved(now, first), none);
    if (!transposed) continue;
    transpose(now.re, to.re + first * n);
    transpose(now.im, to.im + first * n);
  }
}

static Rows rows(float *array) { return (Rows){array, array + size, n}; }
static Rows swapped(float *array) { return (Rows){array + size, array, n}; }

export(forward) void forward(float *from, float *to) {
  columns(rows(from), rows(work), 1, 0);
  columns(rows(work), rows(to), 0, 0);
}

// n^2 times the inverse of `forward`, which is the same but for swapped real and imaginary parts.
export(backward) void backward(float *from, float *to) {
  columns(swapped(from), swapped(work), 1, 0);
  columns(swapped(work), swapped(to), 0, 0);
}

// --- ADMM -----------------------------------------------------------------------------------------------------------

export(set_up) void set_up(int side) { // for images of another size or another problem: start at 0
  n = side;
  size = n * n;
  for (int i = 0; i < 2 * size; i++) x[i] = r[i] = down[i] = right[i] = before[i] = 0;
}

static inline Vector update(Vector gradient, float *v, Vector t, Vector ratio) {
  Vector w = load(v);
  w += RELAXATION * (gradient - w + clip(w, t));
  Vector u = clip(w, t), z = w - u;
  u *= ratio;
  store(v, z + u);
  return z - u;
}

// z- and u-update for the threshold t, then r = rho grad*(z - u) for the threshold ratio t; `_v_update` of _kernels.py.
static inline void step(float *x, float *r, float *down, float *right, float t, float ratio, float rho) {
  for (int j = 0; j < n; j++) lines[1][j] = 0; // z - u above the first row: added at the end
  for (int i = 0; i < n; i++) {
    const float *row = x + i * n, *below = x + (i + 1) % n * n, *above = lines[1 - i % 2];
    float *here = lines[i % 2];
    Vector left = all(0); // z - u left of the first pixel: added below
    for (int j = 0; j < n; j += 4) {
      Vector a = load(row + j);
      Vector q = update(load(below + j) - a, down + i * n + j, all(t), all(ratio));
      Vector p = update(ahead(a, load(row + (j + 4 < n ? j + 4 : 0))) - a, right + i * n + j, all(t), all(ratio));
      store(r + i * n + j, rho * (load(above + j) - q + behind(left, p) - p));
      store(here + j, q);
      left = p;
    }
    r[i * n] += rho * left[3];
  }
  for (int j = 0; j < n; j++) r[j] += rho * lines[1][j];
}

// `count` iterations with the threshold t; `last` is that of those before.
export(iterate) void iterate(int count, float lambda, float t, float last) {
  float rho = lambda / t;
  for (int i = 0, at = 0; i < n; i++)
    for (int j = 0; j < n; j++, at++) inverse[at] = 1 / (size * (weight[at] + rho * (laplacian[i] + laplacian[j])));
  for (; count > 0; count--, last = t) {
    for (int part = 0; part < 2 * size; part += size)
      step(x + part, r + part, down + part, right + part, last, t / last, rho);
    columns(rows(r), rows(work), 1, 0); // half-way to k-space
    columns(rows(work), swapped(r), 1, 1); // there, and half-way back
    columns(swapped(r), swapped(x), 0, 0);
  }
}

// By how much any pixel has changed since the last call.
export(change) float change(void) {
  Vector most = all(0);
  for (int i = 0; i < 2 * size; i += 4) {
    most = larger(most, magnitude(load(x + i) - load(before + i)));
    store(before + i, load(x + i));
  }
  most = larger(most, __builtin_shufflevector(most, most, 2, 3, 0, 1));
  return most[0] > most[1] ? most[0] : most[1];
}
