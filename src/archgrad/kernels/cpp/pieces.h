// The pieces of the operations of an edge, each on one image whose channels lie in blocks of V lanes.

#pragma once

#include "numbers.h"

namespace {

// --- what a call is about -------------------------------------------------------------------------

enum Kind : Index { separable, max_pool, avg_pool };

template <class S> struct Branch {
  Index kind, size, dilation, stride;
  View<S> taps, matrix;          // (C, size, size); (C, C), outputs by inputs
  View<S> y;                     // (B, Ho, Wo, C)
  View<double> mean, var;        // (C)
  View<S> dy;                    // gradients that come in
  View<double> dmean, dvar;
  View<S> dtaps, dmatrix;        // gradients that go out, or null

  Index pad() const { return dilation * (size - 1) / 2; }
};

template <class S> struct Call {
  Index images, height, width, channels, branches, threads;
  View<S> x;
  View<double> mean, scale;      // x is normalized before it is used; or null
  View<S> dx;
  View<double> dmean, dscale;
  const Branch<S> *branch;
};

template <class N> struct Shape { // of one branch's output, in blocks of V channels
  Index height, width, blocks;
  template <class S> Shape(const Call<S> &c, const Branch<S> &b)
      : height((c.height - 1) / b.stride + 1), width((c.width - 1) / b.stride + 1),
        blocks(c.channels / N::V) {}
  Index pixels() const { return height * width; }
  Index size() const { return height * width * blocks; }
};

template <class N> struct Scratch { // buffers of one thread, in blocks
  std::vector<N> x, u, y, g, gu, drelu, dplain, taps, matrix;
};

template <class N> N *sized(std::vector<N> &buffer, Index size) {
  if (Index(buffer.size()) < size) buffer.resize(size);
  return buffer.data();
}

template <class N> N *cleared(std::vector<N> &buffer, Index size) {
  N *start = sized(buffer, size);
  std::memset(static_cast<void *>(start), 0, size * sizeof(N));
  return start;
}

// --- pieces, all on one image ---------------------------------------------------------------------

template <class N> struct Normalization { // of one block of the input
  Channels<N> mean;
  N scale;
  Normalization(const Call<typename N::S> &c, Index block)
      : mean(c.scale ? c.mean.at(block * N::V) : View<double>(nothing())),
        scale(Channels<N>(c.scale ? c.scale.at(block * N::V) : View<double>(nothing())).near) {}
  static View<double> nothing() {
    static double zeros[N::V] = {};
    return {zeros, nullptr};
  }
};

// relu of the (normalized) image, with a border of zeros
template <class N>
void activate(const Call<typename N::S> &c, Index image, Index pad, N *out) {
  const Index blocks = c.channels / N::V, width = c.width + 2 * pad;
  std::memset(static_cast<void *>(out), 0, (c.height + 2 * pad) * width * blocks * sizeof(N));
  const auto x = c.x.at(image * c.height * c.width * c.channels);
  for (Index k = 0; k < blocks; ++k) {
    const Normalization<N> norm(c, k);
    for (Index row = 0; row < c.height; ++row)
      for (Index column = 0; column < c.width; ++column) {
        N value = load<N>(x.at((row * c.width + column) * c.channels + k * N::V));
        if (c.scale) value = mul(away(value, norm.mean), norm.scale);
        out[((row + pad) * width + column + pad) * blocks + k] = relu(value);
      }
  }
}

// (C, size, size) -> [tap][block]
template <class N> void pack_taps(View<typename N::S> taps, Index count, Index channels, N *out) {
  using S = typename N::S;
  for (Index channel = 0; channel < channels; ++channel)
    for (Index tap = 0; tap < count; ++tap) {
      N &block = out[tap * (channels / N::V) + channel / N::V];
      reinterpret_cast<S *>(&block.v)[channel % N::V] = taps.v[channel * count + tap];
      if constexpr (N::dual)
        reinterpret_cast<S *>(&block.t)[channel % N::V] =
            taps.t ? taps.t[channel * count + tap] : S(0);
    }
}

// (outputs, inputs) -> [input][block of outputs], or as it is: [output][block of inputs]
template <class N>
void pack_matrix(View<typename N::S> matrix, Index channels, bool transpose, N *out) {
  using S = typename N::S;
  for (Index row = 0; row < channels; ++row)
    for (Index column = 0; column < channels; ++column) {
      const Index from = transpose ? column * channels + row : row * channels + column;
      N &block = out[row * (channels / N::V) + column / N::V];
      reinterpret_cast<S *>(&block.v)[column % N::V] = matrix.v[from];
      if constexpr (N::dual)
        reinterpret_cast<S *>(&block.t)[column % N::V] = matrix.t ? matrix.t[from] : S(0);
    }
}

// A depthwise convolution of a padded image; with `reversed` taps it is the transposed one.
template <class N, int K, bool accumulate>
void depthwise(const N *x, Index x_width, Index offset, const N *taps, Index dilation, Index stride,
               bool reversed, Index height, Index width, Index blocks, N *out, Index out_start,
               Index out_width) {
  constexpr int group = N::dual ? 2 : 4;
  for (Index k = 0; k < blocks; ++k) {
    N tap[K * K];
    for (int i = 0; i < K * K; ++i) tap[i] = taps[(reversed ? K * K - 1 - i : i) * blocks + k];
    for (Index row = 0; row < height; ++row) {
      const N *from = x + ((row * stride + offset) * x_width + offset) * blocks + k;
      N *to = out + (out_start + row * out_width) * blocks + k;
      Index column = 0;
      for (; column + group <= width; column += group) {
        N sum[group];
        for (int j = 0; j < group; ++j)
          sum[j] = accumulate ? to[(column + j) * blocks] : zero<N>();
        for (int i = 0; i < K; ++i)
          for (int l = 0; l < K; ++l) {
            const N *at = from + (i * dilation * x_width + l * dilation) * blocks;
            for (int j = 0; j < group; ++j)
              fma(sum[j], at[(column + j) * stride * blocks], tap[i * K + l]);
          }
        for (int j = 0; j < group; ++j) to[(column + j) * blocks] = sum[j];
      }
      for (; column < width; ++column) {
        N sum = accumulate ? to[column * blocks] : zero<N>();
        for (int i = 0; i < K; ++i)
          for (int l = 0; l < K; ++l)
            fma(sum, from[(i * dilation * x_width + l * dilation + column * stride) * blocks],
                tap[i * K + l]);
        to[column * blocks] = sum;
      }
    }
  }
}

// rows of pixels times [channel][block]
template <class N, int group>
inline void pointwise_group(const N *u, const N *matrix, Index blocks, N *out) {
  for (Index k = 0; k < blocks; ++k) {
    N sum[group];
    for (auto &s : sum) s = zero<N>();
    for (Index from = 0; from < blocks; ++from)
      for (int lane = 0; lane < N::V; ++lane) {
        const N w = matrix[(from * N::V + lane) * blocks + k];
        for (int j = 0; j < group; ++j) fma(sum[j], broadcast(u[j * blocks + from], lane), w);
      }
    for (int j = 0; j < group; ++j) out[j * blocks + k] = sum[j];
  }
}

template <class N> void pointwise(const N *u, const N *matrix, Index pixels, Index blocks, N *out) {
  constexpr int group = N::dual ? 4 : 8;
  Index pixel = 0;
  for (; pixel + group <= pixels; pixel += group)
    pointwise_group<N, group>(u + pixel * blocks, matrix, blocks, out + pixel * blocks);
  for (; pixel < pixels; ++pixel)
    pointwise_group<N, 1>(u + pixel * blocks, matrix, blocks, out + pixel * blocks);
}

// sum over pixels of u[input] g[output]: [input][block of outputs]
template <class N> void outer(const N *u, const N *g, Index pixels, Index blocks, N *out) {
  constexpr int most = N::dual ? 8 : 16, group = N::V < most ? N::V : most;
  for (Index k = 0; k < blocks; ++k)
    for (Index from = 0; from < blocks; ++from)
      for (int first = 0; first < N::V; first += group) {
        N sum[group];
        for (auto &s : sum) s = zero<N>();
        for (Index pixel = 0; pixel < pixels; ++pixel) {
          const N to = g[pixel * blocks + k];
          for (int j = 0; j < group; ++j)
            fma(sum[j], broadcast(u[pixel * blocks + from], first + j), to);
        }
        for (int j = 0; j < group; ++j) out[(from * N::V + first + j) * blocks + k] = sum[j];
      }
}

// sum over pixels of g times the shifted input, one for each tap
template <class N, int K>
void tap_gradient(const N *x, Index x_width, Index offset, const N *g, Index g_start, Index g_width,
                  Index dilation, Index stride, Index height, Index width, Index blocks, N *out) {
  for (Index k = 0; k < blocks; ++k) {
    N sum[K * K];
    for (auto &s : sum) s = zero<N>();
    for (Index row = 0; row < height; ++row) {
      const N *from = x + ((row * stride + offset) * x_width + offset) * blocks + k;
      const N *to = g + (g_start + row * g_width) * blocks + k;
      for (Index column = 0; column < width; ++column)
        for (int i = 0; i < K; ++i)
          for (int l = 0; l < K; ++l)
            fma(sum[i * K + l],
                from[(i * dilation * x_width + l * dilation + column * stride) * blocks],
                to[column * blocks]);
    }
    for (int i = 0; i < K * K; ++i) out[i * blocks + k] = sum[i];
  }
}

// dx[row stride + i dilation][...] += g tap, into a padded image
template <class N, int K>
void scatter(const N *g, Index g_start, Index g_width, const N *taps, Index dilation, Index stride,
             Index height, Index width, Index blocks, N *out, Index out_width, Index offset) {
  for (Index row = 0; row < height; ++row)
    for (int i = 0; i < K; ++i)
      for (int l = 0; l < K; ++l) {
        const N *from = g + (g_start + row * g_width) * blocks;
        N *to = out +
                ((row * stride + i * dilation + offset) * out_width + l * dilation + offset) * blocks;
        const N *tap = taps + (i * K + l) * blocks;
        for (Index column = 0; column < width; ++column)
          for (Index k = 0; k < blocks; ++k)
            fma(to[column * stride * blocks + k], from[column * blocks + k], tap[k]);
      }
}

// calls f(first, last) for the part of a 3x3 window around `center` that is in the image
struct Window {
  Index top, bottom, left, right;
  Window(Index row, Index column, Index height, Index width)
      : top(std::max<Index>(row - 1, 0)), bottom(std::min(row + 2, height)),
        left(std::max<Index>(column - 1, 0)), right(std::min(column + 2, width)) {}
  Index count() const { return (bottom - top) * (right - left); }
};

template <class N>
N pool(const Call<typename N::S> &c, Kind kind, View<typename N::S> x, const Window &w) {
  N found = zero<N>();
  bool first = true;
  for (Index i = w.top; i < w.bottom; ++i)
    for (Index j = w.left; j < w.right; ++j) {
      const N value = load<N>(x.at((i * c.width + j) * c.channels));
      if (kind == avg_pool)
        found = add(found, value);
      else if (first)
        found = value;
      else // the first of equal values; a NaN is the largest, as in PyTorch
        found = where((value.v > found.v) | (value.v != value.v), value, found);
      first = false;
    }
  return kind == avg_pool ? times(found, typename N::S(1) / w.count()) : found;
}

template <class N>
void unpool(const Call<typename N::S> &c, Kind kind, View<typename N::S> x, const Window &w,
            const N &g, N *dx, Index blocks) {
  if (kind == avg_pool) {
    const N share = times(g, typename N::S(1) / w.count());
    for (Index i = w.top; i < w.bottom; ++i)
      for (Index j = w.left; j < w.right; ++j) {
        N &to = dx[(i * c.width + j) * blocks];
        to = add(to, share);
      }
    return;
  }
  const auto largest = pool<N>(c, kind, x, w).v;
  auto open = largest == largest; // lanes whose gradient has not yet found its place
  open = open | ~open;
  for (Index i = w.top; i < w.bottom; ++i)
    for (Index j = w.left; j < w.right; ++j) {
      const auto value = load<N>(x.at((i * c.width + j) * c.channels)).v;
      const auto here = open & ((value == largest) | (value != value));
      N &to = dx[(i * c.width + j) * blocks];
      to = add(to, where(here, g, zero<N>()));
      open = open & ~here;
    }
}

// The mean over pixels in three parts, which keep what rounding would lose: the first pixel, the mean
// distance to it, and what is left of that; and the sum of squared distances to the mean.
template <class N> struct Moments {
  N first, distance, rest, squares;
};

template <class N> void statistics(const N *y, Index pixels, Index blocks, Moments<N> *out) {
  constexpr int group = 4; // sums that do not wait for each other
  const typename N::S share = typename N::S(1) / pixels;
  for (Index k = 0; k < blocks; ++k) {
    const N first = y[k];
    N sum[group], left[group], squares[group];
    for (int j = 0; j < group; ++j) sum[j] = left[j] = squares[j] = zero<N>();
    const auto each = [&](auto visit) { // visit(place of the sum, value)
      Index pixel = 0;
      for (; pixel + group <= pixels; pixel += group)
        for (int j = 0; j < group; ++j) visit(j, sub(y[(pixel + j) * blocks + k], first));
      for (; pixel < pixels; ++pixel) visit(0, sub(y[pixel * blocks + k], first));
    };
    each([&](int j, const N &value) { sum[j] = add(sum[j], value); });
    const N distance = times(add(add(sum[0], sum[1]), add(sum[2], sum[3])), share);
    each([&](int j, const N &value) {
      const N away = sub(value, distance);
      left[j] = add(left[j], away);
      fma(squares[j], away, away);
    });
    out[k].first = first, out[k].distance = distance;
    out[k].rest = times(add(add(left[0], left[1]), add(left[2], left[3])), share);
    out[k].squares = add(add(squares[0], squares[1]), add(squares[2], squares[3]));
  }
}

// Mean and variance over all images, which have as many pixels each.
template <class N>
void combine(const std::vector<Moments<N>> &moments, Index images, Index pixels, Index blocks,
             View<double> mean, View<double> var) {
  const auto value = [](const N &n, int lane) { return double(n.v[lane]); };
  const auto tangent = [](const N &n, int lane) {
    if constexpr (N::dual) return double(n.t[lane]);
    return 0.0;
  };
  const auto center = [](const Moments<N> &n, int lane, auto part) {
    return part(n.first, lane) + part(n.distance, lane) + part(n.rest, lane);
  };
  for (Index k = 0; k < blocks; ++k)
    for (int lane = 0; lane < N::V; ++lane) {
      double m = 0, dm = 0, v = 0, dv = 0;
      for (Index image = 0; image < images; ++image) {
        const auto &n = moments[image * blocks + k];
        m += center(n, lane, value) / images;
        dm += center(n, lane, tangent) / images;
      }
      for (Index image = 0; image < images; ++image) {
        const auto &n = moments[image * blocks + k];
        const double away = center(n, lane, value) - m;
        const double moves = center(n, lane, tangent) - dm;
        v += (value(n.squares, lane) / pixels + away * away) / images;
        dv += (tangent(n.squares, lane) / pixels + 2 * away * moves) / images;
      }
      put<N>(mean, k * N::V + lane, m, dm);
      put<N>(var, k * N::V + lane, v, dv);
    }
}

} // namespace
