// Everything that leaves a state of a cell, image by image in the cache: depthwise separable
// convolutions, pools, the statistics of their outputs, and all gradients.
//
// Tensors are (B, H, W, C) in memory. A call is a table of integers, sizes and addresses, laid out as
// in archgrad/kernels/branches.py.

#include "pieces.h"

namespace {

template <class N> Index largest_pad(const Call<typename N::S> &c) {
  Index pad = 0;
  for (Index b = 0; b < c.branches; ++b)
    if (c.branch[b].kind == separable) pad = std::max(pad, c.branch[b].pad());
  return pad;
}

template <class N, int K>
void separable_forward(const Branch<typename N::S> &b, const Shape<N> &s, const N *x, Index x_width,
                       Index pad, Index channels, Scratch<N> &scratch, N *y) {
  N *taps = sized(scratch.taps, K * K * s.blocks);
  pack_taps(b.taps, K * K, channels, taps);
  N *u = sized(scratch.u, s.size());
  depthwise<N, K, false>(x, x_width, pad - b.pad(), taps, b.dilation, b.stride, false, s.height,
                         s.width, s.blocks, u, 0, s.width);
  if (!y) return;
  N *matrix = sized(scratch.matrix, channels * s.blocks);
  pack_matrix(b.matrix, channels, true, matrix);
  pointwise(u, matrix, s.pixels(), s.blocks, y);
}

template <class N> void forward(const Call<typename N::S> &c) {
  const Index blocks = c.channels / N::V, pad = largest_pad<N>(c);
  std::vector<std::vector<Moments<N>>> moments(c.branches);
  for (auto &m : moments) m.resize(c.images * blocks);
  each_image<Scratch<N>>(c.images, c.threads, [&](Index image, Scratch<N> &scratch) {
    const Index x_width = c.width + 2 * pad;
    N *x = sized(scratch.x, (c.height + 2 * pad) * x_width * blocks);
    activate(c, image, pad, x);
    const auto plain = c.x.at(image * c.height * c.width * c.channels);
    for (Index i = 0; i < c.branches; ++i) {
      const auto &b = c.branch[i];
      const Shape<N> s(c, b);
      const auto to = b.y.at(image * s.size() * N::V);
      N *y = N::dual ? sized(scratch.y, s.size()) : reinterpret_cast<N *>(to.v);
      if (b.kind == separable && b.size == 3)
        separable_forward<N, 3>(b, s, x, x_width, pad, c.channels, scratch, y);
      else if (b.kind == separable)
        separable_forward<N, 5>(b, s, x, x_width, pad, c.channels, scratch, y);
      else
        for (Index row = 0; row < s.height; ++row)
          for (Index column = 0; column < s.width; ++column) {
            const Window w(row * b.stride, column * b.stride, c.height, c.width);
            for (Index k = 0; k < blocks; ++k)
              y[(row * s.width + column) * blocks + k] =
                  pool<N>(c, Kind(b.kind), plain.at(k * N::V), w);
          }
      if constexpr (N::dual)
        for (Index j = 0; j < s.size(); ++j) store(to.at(j * N::V), y[j]);
      statistics(y, s.pixels(), blocks, &moments[i][image * blocks]);
    }
  });
  for (Index i = 0; i < c.branches; ++i) {
    const auto &b = c.branch[i];
    combine(moments[i], c.images, Shape<N>(c, b).pixels(), blocks, b.mean, b.var);
  }
}

template <class N, int K>
void separable_backward(const Branch<typename N::S> &b, const Shape<N> &s, const N *x, Index x_width,
                        Index pad, Index channels, const N *g, Scratch<N> &scratch, N *drelu,
                        N *dtaps, N *dmatrix) {
  const Index offset = pad - b.pad();
  if (dmatrix) {
    separable_forward<N, K>(b, s, x, x_width, pad, channels, scratch, nullptr);
    outer(scratch.u.data(), g, s.pixels(), s.blocks, dmatrix);
  }
  N *taps = sized(scratch.taps, K * K * s.blocks);
  pack_taps(b.taps, K * K, channels, taps);
  N *matrix = sized(scratch.matrix, channels * s.blocks);
  pack_matrix(b.matrix, channels, false, matrix);
  const Index border = b.stride == 1 ? b.pad() : 0, width = s.width + 2 * border;
  N *gu = cleared(scratch.gu, (s.height + 2 * border) * width * s.blocks);
  const Index start = border * width + border;
  for (Index row = 0; row < s.height; ++row)
    pointwise(g + row * s.width * s.blocks, matrix, s.width, s.blocks,
              gu + (start + row * width) * s.blocks);
  if (dtaps)
    tap_gradient<N, K>(x, x_width, offset, gu, start, width, b.dilation, b.stride, s.height, s.width,
                       s.blocks, dtaps);
  if (b.stride == 1)
    depthwise<N, K, true>(gu, width, 0, taps, b.dilation, 1, true, s.height, s.width, s.blocks,
                          drelu, pad * x_width + pad, x_width);
  else
    scatter<N, K>(gu, start, width, taps, b.dilation, b.stride, s.height, s.width, s.blocks, drelu,
                  x_width, offset);
}

template <class N> void backward(const Call<typename N::S> &c) {
  const Index blocks = c.channels / N::V, pad = largest_pad<N>(c), x_width = c.width + 2 * pad;
  std::vector<Partial<N>> taps, matrices;
  for (Index i = 0; i < c.branches; ++i) {
    const auto &b = c.branch[i];
    taps.emplace_back(c.images, b.dtaps ? b.size * b.size * blocks : 0);
    matrices.emplace_back(c.images, b.dmatrix ? c.channels * blocks : 0);
  }
  Partial<N> means(c.images, c.scale ? blocks : 0), scales(c.images, c.scale ? blocks : 0);
  each_image<Scratch<N>>(c.images, c.threads, [&](Index image, Scratch<N> &scratch) {
    const Index padded = (c.height + 2 * pad) * x_width * blocks;
    N *x = sized(scratch.x, padded);
    activate(c, image, pad, x);
    N *drelu = cleared(scratch.drelu, padded);
    N *dplain = cleared(scratch.dplain, c.height * c.width * blocks);
    const auto plain = c.x.at(image * c.height * c.width * c.channels);
    for (Index i = 0; i < c.branches; ++i) {
      const auto &b = c.branch[i];
      const Shape<N> s(c, b);
      N *g = sized(scratch.g, s.size());
      const auto y = b.y.at(image * s.size() * N::V), dy = b.dy.at(image * s.size() * N::V);
      const double count = double(s.pixels()) * c.images;
      for (Index k = 0; k < blocks; ++k) {
        const Channels<N> mean(b.mean.at(k * N::V));
        const Channels<N> shift(b.dmean.at(k * N::V), 1 / count);
        const Channels<N> slope(b.dvar.at(k * N::V), 2 / count);
        for (Index pixel = 0; pixel < s.pixels(); ++pixel) {
          const Index at = pixel * c.channels + k * N::V;
          N value = add(load<N>(dy.at(at)), shift);
          fma(value, away(load<N>(y.at(at)), mean), slope);
          g[pixel * blocks + k] = value;
        }
      }
      N *dtaps = b.dtaps ? taps[i].at(image) : nullptr;
      N *dmatrix = b.dmatrix ? matrices[i].at(image) : nullptr;
      if (b.kind == separable && b.size == 3)
        separable_backward<N, 3>(b, s, x, x_width, pad, c.channels, g, scratch, drelu, dtaps,
                                 dmatrix);
      else if (b.kind == separable)
        separable_backward<N, 5>(b, s, x, x_width, pad, c.channels, g, scratch, drelu, dtaps,
                                 dmatrix);
      else
        for (Index row = 0; row < s.height; ++row)
          for (Index column = 0; column < s.width; ++column) {
            const Window w(row * b.stride, column * b.stride, c.height, c.width);
            for (Index k = 0; k < blocks; ++k)
              unpool(c, Kind(b.kind), plain.at(k * N::V), w, g[(row * s.width + column) * blocks + k],
                     dplain + k, blocks);
          }
    }
    const auto dx = c.dx.at(image * c.height * c.width * c.channels);
    for (Index k = 0; k < blocks; ++k) {
      N dmean = zero<N>(), dscale = zero<N>();
      const Normalization<N> norm(c, k);
      for (Index row = 0; row < c.height; ++row)
        for (Index column = 0; column < c.width; ++column) {
          const Index at = ((row + pad) * x_width + column + pad) * blocks + k;
          const Index pixel = row * c.width + column;
          N value = where(x[at].v > Vec<N>{}, drelu[at], zero<N>());
          if (c.scale) {
            fma(dscale, value, away(load<N>(plain.at(pixel * c.channels + k * N::V)), norm.mean));
            value = mul(value, norm.scale);
            dmean = sub(dmean, value);
          }
          store(dx.at(pixel * c.channels + k * N::V), add(value, dplain[pixel * blocks + k]));
        }
      if (c.scale) means.at(image)[k] = dmean, scales.at(image)[k] = dscale;
    }
  });
  for (Index i = 0; i < c.branches; ++i) {
    const auto &b = c.branch[i];
    const Index count = b.size * b.size;
    taps[i].total([&](Index index, double v, double t) { // [tap][channel] -> (C, taps)
      put<N>(b.dtaps, index % c.channels * count + index / c.channels, v, t);
    });
    matrices[i].total([&](Index index, double v, double t) { // [input][output] -> (outputs, inputs)
      put<N>(b.dmatrix, index % c.channels * c.channels + index / c.channels, v, t);
    });
  }
  means.total([&](Index channel, double v, double t) { put<N>(c.dmean, channel, v, t); });
  scales.total([&](Index channel, double v, double t) { put<N>(c.dscale, channel, v, t); });
}

template <class S, template <class, int> class Number> void branches(const Call<S> &c, bool back) {
  by_lanes<S>(c.channels, [&](auto lanes) {
    using N = Number<S, lanes>;
    back ? backward<N>(c) : forward<N>(c);
  });
}

} // namespace

extern "C" int branches_float(const Call<float> *c, int back, int dual) {
  return tried([=] { dual ? branches<float, Dual>(*c, back) : branches<float, Real>(*c, back); });
}

extern "C" int branches_double(const Call<double> *c, int back, int dual) {
  return tried([=] { dual ? branches<double, Dual>(*c, back) : branches<double, Real>(*c, back); });
}
