// The sum that enters a node of a cell: over all terms weight (x - mean), channel by channel.
//
// Tensors are (B, H, W, C) in memory. A call is a table of integers, sizes and addresses, laid out as
// in archgrad/kernels/weighted_sum.py.

#include "numbers.h"

namespace {

template <class S> struct Term {
  const S *x;                    // (B, H, W, C)
  double *weight, *mean;         // (C)
  S *dx;                         // gradients that go out; dx may be null
  double *dweight;
};

template <class S> struct Sum {
  Index images, pixels, channels, terms, threads;
  S *out;                        // the sum; in the backward pass its gradient
  double *total;                 // (C), backward: the gradient summed over images and pixels
  const Term<S> *term;
};

struct Nothing {};

template <class N> Channels<N> channels(double *x) { return Channels<N>(View<double>{x, nullptr}); }

constexpr Index chunk = 64; // pixels that stay in the first cache

template <class N> void sum_forward(const Sum<typename N::S> &c) {
  using S = typename N::S;
  const Index size = c.pixels * c.channels;
  const auto view = [](const S *x) { return View<S>{const_cast<S *>(x), nullptr}; };
  each_image<Nothing>(c.images, c.threads, [&](Index image, Nothing &) {
    for (Index start = 0; start < c.pixels; start += chunk)
      for (Index i = 0; i < c.terms; ++i)
        for (Index k = 0; k < c.channels; k += N::V) {
          const auto &t = c.term[i];
          const N weight = channels<N>(t.weight + k).near;
          const auto mean = channels<N>(t.mean + k);
          const Index last = std::min(start + chunk, c.pixels);
          for (Index pixel = start; pixel < last; ++pixel) {
            const Index at = image * size + pixel * c.channels + k;
            N value = i ? load<N>(view(c.out + at)) : zero<N>();
            fma(value, weight, away(load<N>(view(t.x + at)), mean));
            store(View<S>{c.out + at, nullptr}, value);
          }
        }
  });
}

template <class N> void sum_backward(const Sum<typename N::S> &c) {
  using S = typename N::S;
  const Index size = c.pixels * c.channels, blocks = c.channels / N::V;
  const auto view = [](const S *x) { return View<S>{const_cast<S *>(x), nullptr}; };
  Partial<N> found(c.images, (c.terms + 1) * blocks);
  each_image<Nothing>(c.images, c.threads, [&](Index image, Nothing &) {
    N *sums = found.at(image);
    for (Index i = 0; i < (c.terms + 1) * blocks; ++i) sums[i] = zero<N>();
    for (Index start = 0; start < c.pixels; start += chunk)
      for (Index k = 0; k < blocks; ++k) {
        const Index first = image * size + k * N::V, last = std::min(start + chunk, c.pixels);
        N total = zero<N>();
        for (Index pixel = start; pixel < last; ++pixel)
          total = add(total, load<N>(view(c.out + first + pixel * c.channels)));
        sums[c.terms * blocks + k] = add(sums[c.terms * blocks + k], total);
        for (Index i = 0; i < c.terms; ++i) {
          const auto &t = c.term[i];
          const N weight = channels<N>(t.weight + k * N::V).near;
          const auto mean = channels<N>(t.mean + k * N::V);
          N slope[2] = {zero<N>(), zero<N>()};
          for (Index pixel = start; pixel < last; ++pixel) {
            const Index at = first + pixel * c.channels;
            const N g = load<N>(view(c.out + at));
            fma(slope[pixel & 1], g, away(load<N>(view(t.x + at)), mean));
            if (t.dx) store(View<S>{t.dx + at, nullptr}, mul(weight, g));
          }
          sums[i * blocks + k] = add(sums[i * blocks + k], add(slope[0], slope[1]));
        }
      }
  });
  found.total([&](Index index, double v, double) {
    const Index i = index / c.channels, channel = index % c.channels;
    (i < c.terms ? c.term[i].dweight : c.total)[channel] = v;
  });
}

template <class S> void weighted_sum(const Sum<S> &c, bool back) {
  by_lanes<S>(c.channels, [&](auto lanes) {
    using N = Real<S, lanes>;
    back ? sum_backward<N>(c) : sum_forward<N>(c);
  });
}

} // namespace

extern "C" int weighted_sum_float(const Sum<float> *c, int back) {
  return tried([=] { weighted_sum(*c, back); });
}

extern "C" int weighted_sum_double(const Sum<double> *c, int back) {
  return tried([=] { weighted_sum(*c, back); });
}
