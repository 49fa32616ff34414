// What the edges of one node of a recurrent cell add up to, and the gradients of that sum.

#include <cmath>

#include "numbers.h"

namespace {

template <class S> struct Edges {
  Index rows, batch, hidden;
  S *z;            // (rows, batch, 2 hidden): gate and candidate before their activations
  const S *state;  // (rows, batch, hidden): the sources
  const S *weight; // (rows, 4): of tanh, relu, sigmoid, identity
  S *out;          // (batch, hidden): the sum, or its gradient
  S *dz, *dstate;  // gradients; that of the states is added to
  double *dweight; // (rows, 4), added to
};

// Cephes' polynomial on [-ln 2 / 2, ln 2 / 2], without branches: the loops around it become vectors.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
  const float shift = 12582912.0f; // 1.5 * 2^23: what is added and taken off rounds to whole numbers
  const float n = (x * 1.44269504088896341f + shift) - shift;
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

inline double exponential(double x) { return std::exp(x < -700 ? -700 : x > 700 ? 700 : x); }

template <class S> struct Values { // of one entry of a row
  S gate, tanh, relu, sigmoid;
  Values(S z, S a) {
    gate = S(1) / (S(1) + exponential(-z));
    const S bounded = a < S(-40) ? S(-40) : a > S(40) ? S(40) : a;
    const S e = exponential(-bounded), square = e * e, near = a * a;
    sigmoid = S(1) / (S(1) + e);
    // near 0 the quotient would lose digits
    const S series = a * (S(1) + near * (S(-1) / 3 + near * (S(2) / 15 + near * (S(-17) / 315
                     + near * (S(62) / 2835 + near * (S(-1382) / 155925))))));
    tanh = near < S(sizeof(S) == 4 ? 0.04 : 0.0001) ? series : (S(1) - square) / (S(1) + square);
    relu = a > S(0) ? a : S(0);
  }
};

template <class S> void forward(const Edges<S> &c) {
  const Index H = c.hidden;
  for (Index b = 0; b < c.batch; ++b) {
    S *__restrict out = c.out + b * H;
    std::fill(out, out + H, S(0));
    for (Index j = 0; j < c.rows; ++j) {
      const S *__restrict z = c.z + (j * c.batch + b) * 2 * H, *__restrict a = z + H;
      const S *__restrict s = c.state + (j * c.batch + b) * H;
      const S p = c.weight[4 * j], q = c.weight[4 * j + 1], r = c.weight[4 * j + 2],
              t = c.weight[4 * j + 3], all = p + q + r + t;
      for (Index h = 0; h < H; ++h) {
        const Values<S> v(z[h], a[h]);
        const S mixed = p * v.tanh + q * v.relu + r * v.sigmoid + t * a[h], kept = all * s[h];
        out[h] += kept + v.gate * (mixed - kept);
      }
    }
  }
}

template <class S> void backward(const Edges<S> &c) {
  const Index H = c.hidden;
  std::vector<S> sums(5 * H);
  for (Index j = 0; j < c.rows; ++j) {
    const S p = c.weight[4 * j], q = c.weight[4 * j + 1], r = c.weight[4 * j + 2],
            t = c.weight[4 * j + 3], all = p + q + r + t;
    S *__restrict sum = sums.data();
    std::fill(sums.begin(), sums.end(), S(0));
    for (Index b = 0; b < c.batch; ++b) {
      const Index row = j * c.batch + b;
      const S *__restrict g = c.out + b * H, *__restrict s = c.state + row * H;
      const S *__restrict z = c.z + row * 2 * H;
      S *__restrict dz = c.dz + row * 2 * H, *__restrict ds = c.dstate + row * H;
      // nothing here overlaps, and without being told gcc makes no vectors of so many arrays
#pragma GCC ivdep
      for (Index h = 0; h < H; ++h) {
        const S a = z[H + h];
        const Values<S> v(z[h], a);
        const S gated = g[h] * v.gate, kept = g[h] - gated;
        const S mixed = p * v.tanh + q * v.relu + r * v.sigmoid + t * a;
        const S slope = p * (S(1) - v.tanh * v.tanh) + (a > S(0) ? q : S(0)) +
                        r * v.sigmoid * (S(1) - v.sigmoid) + t;
        dz[h] = (mixed - all * s[h]) * gated * (S(1) - v.gate);
        dz[H + h] = gated * slope;
        ds[h] += kept * all;
        sum[h] += kept * s[h];
        sum[H + h] += gated * v.tanh;
        sum[2 * H + h] += gated * v.relu;
        sum[3 * H + h] += gated * v.sigmoid;
        sum[4 * H + h] += gated * a;
      }
    }
    double total[5] = {};
    for (int k = 0; k < 5; ++k)
      for (Index h = 0; h < H; ++h) total[k] += sums[k * H + h];
    for (int k = 0; k < 4; ++k) c.dweight[4 * j + k] += total[0] + total[k + 1];
  }
}

} // namespace

extern "C" int recurrence_float(const Edges<float> *c, int back) {
  return tried([=] { back ? backward(*c) : forward(*c); });
}

extern "C" int recurrence_double(const Edges<double> *c, int back) {
  return tried([=] { back ? backward(*c) : forward(*c); });
}
