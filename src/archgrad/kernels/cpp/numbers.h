// Numbers of V lanes, plain or dual (value and tangent): the dual form of a function is its derivative
// in forward mode. And what every function needs: threads over images, sums over images.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

using Index = std::int64_t;

// --- numbers: V lanes of a plain or a dual type ---------------------------------------------------

template <class S, int V> struct Lanes {
  typedef S type __attribute__((vector_size(sizeof(S) * V)));
  typedef S loose __attribute__((vector_size(sizeof(S) * V), aligned(alignof(S)), may_alias));
};

template <class S_, int V_> struct Real {
  using S = S_;
  static constexpr int V = V_;
  static constexpr bool dual = false;
  typename Lanes<S, V>::type v;
};

template <class S_, int V_> struct Dual {
  using S = S_;
  static constexpr int V = V_;
  static constexpr bool dual = true;
  typename Lanes<S, V>::type v, t;
};

template <class S> struct View { // a tensor and its tangents, which may be missing
  S *v, *t;
  View at(Index offset) const { return {v + offset, t ? t + offset : nullptr}; }
  explicit operator bool() const { return v; }
};

template <class N> using Vec = typename Lanes<typename N::S, N::V>::type;
template <class N> using Loose = typename Lanes<typename N::S, N::V>::loose;

template <class N> inline N zero() {
  N n;
  n.v = Vec<N>{};
  if constexpr (N::dual) n.t = Vec<N>{};
  return n;
}

template <class N> inline N load(View<typename N::S> x) {
  N n;
  n.v = *reinterpret_cast<const Loose<N> *>(x.v);
  if constexpr (N::dual) n.t = x.t ? Vec<N>(*reinterpret_cast<const Loose<N> *>(x.t)) : Vec<N>{};
  return n;
}

template <class N> inline void store(View<typename N::S> x, const N &n) {
  if constexpr (N::dual)
    *reinterpret_cast<Loose<N> *>(x.t) = n.t;
  else
    *reinterpret_cast<Loose<N> *>(x.v) = n.v;
}

// V values of double precision, one a channel, and what rounding them to S leaves
template <class N> struct Channels {
  N near, rest;
  explicit Channels(View<double> x) : Channels(x, 1.0) {}
  Channels(View<double> x, double factor) {
    using S = typename N::S;
    rest = near = zero<N>();
    for (int i = 0; i < N::V; ++i) {
      const double v = x.v[i] * factor;
      near.v[i] = S(v), rest.v[i] = S(v - near.v[i]);
      if constexpr (N::dual) {
        const double t = x.t ? x.t[i] * factor : 0;
        near.t[i] = S(t), rest.t[i] = S(t - near.t[i]);
      }
    }
  }
};

template <class N> inline N broadcast(const N &block, int lane) {
  N n;
  n.v = block.v[lane] - Vec<N>{};
  if constexpr (N::dual) n.t = block.t[lane] - Vec<N>{};
  return n;
}

template <class N> inline void fma(N &sum, const N &a, const N &b) {
  sum.v += a.v * b.v;
  if constexpr (N::dual) sum.t += a.v * b.t + a.t * b.v;
}

template <class N> inline N mul(const N &a, const N &b) {
  N n = zero<N>();
  fma(n, a, b);
  return n;
}

template <class N> inline N add(N a, const N &b) {
  a.v += b.v;
  if constexpr (N::dual) a.t += b.t;
  return a;
}

template <class N> inline N sub(N a, const N &b) {
  a.v -= b.v;
  if constexpr (N::dual) a.t -= b.t;
  return a;
}

template <class N> inline N times(N a, typename N::S factor) {
  a.v *= factor;
  if constexpr (N::dual) a.t *= factor;
  return a;
}

template <class N, class Mask> inline N where(Mask mask, const N &a, const N &b) {
  N n;
  n.v = mask ? a.v : b.v;
  if constexpr (N::dual) n.t = mask ? a.t : b.t;
  return n;
}

// x - m, x + m and sum + a m, as if m were not rounded
template <class N> inline N away(const N &x, const Channels<N> &m) {
  return sub(sub(x, m.near), m.rest);
}

template <class N> inline N add(const N &x, const Channels<N> &m) {
  return add(add(x, m.near), m.rest);
}

template <class N> inline void fma(N &sum, const N &a, const Channels<N> &m) {
  fma(sum, a, m.near);
  fma(sum, a, m.rest);
}

template <class N> inline N relu(const N &x) { return where(x.v > Vec<N>{}, x, zero<N>()); }

// --- over all images ------------------------------------------------------------------------------

template <class N> struct Partial { // one row of `size` blocks an image
  Index size;
  std::vector<N> rows;
  Partial(Index images, Index size) : size(size), rows(images * size) {}
  N *at(Index image) { return rows.data() + image * size; }

  // the sum over images, lane by lane: visit(lane, value, tangent)
  template <class Visit> void total(Visit visit) const {
    using S = typename N::S;
    if (!size) return;
    const Index images = rows.size() / size;
    for (Index block = 0; block < size; ++block) {
      double v[N::V] = {}, t[N::V] = {};
      for (Index image = 0; image < images; ++image) {
        const N &n = rows[image * size + block];
        for (int lane = 0; lane < N::V; ++lane) {
          v[lane] += reinterpret_cast<const S *>(&n.v)[lane];
          if constexpr (N::dual) t[lane] += reinterpret_cast<const S *>(&n.t)[lane];
        }
      }
      for (int lane = 0; lane < N::V; ++lane) visit(block * N::V + lane, v[lane], t[lane]);
    }
  }
};

template <class N, class S> void put(View<S> x, Index index, double value, double tangent) {
  if constexpr (N::dual)
    x.t[index] = S(tangent);
  else
    x.v[index] = S(value);
}

// visit(image, buffers of this thread); thread k takes every threads-th image from k on. What is
// thrown, for want of memory, is thrown again when all threads have ended.
template <class Buffers, class Visit> void each_image(Index images, Index threads, Visit visit) {
  threads = std::min(threads, images);
  std::vector<std::exception_ptr> failed(threads);
  const auto work = [&](Index first) {
    try {
      Buffers buffers;
      for (Index image = first; image < images; image += threads) visit(image, buffers);
    } catch (...) {
      failed[first] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(threads);
  for (Index k = 1; k < threads; ++k) {
    try {
      others.emplace_back(work, k);
    } catch (...) { // the system has no more threads
      work(k);
    }
  }
  work(0);
  for (auto &other : others) other.join();
  for (const auto &error : failed)
    if (error) std::rethrow_exception(error);
}

// what an entrance returns: 0, or 1 for want of memory
template <class Run> int tried(Run run) {
  try {
    run();
    return 0;
  } catch (...) {
    return 1;
  }
}

template <class S, class Run> void by_lanes(Index channels, Run run) { // run(number of V lanes)
  if (channels % 16 == 0 && sizeof(S) == 4)
    run(std::integral_constant<int, 16>());
  else if (channels % 8 == 0)
    run(std::integral_constant<int, 8>());
  else if (channels % 4 == 0)
    run(std::integral_constant<int, 4>());
  else
    run(std::integral_constant<int, 1>());
}


} // namespace
