// The suspension matrix of C++: what the language calls by itself.
#include "../ways.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <vector>

namespace {

struct Waits {
  const ways_cell &cell;
  int64_t n = 0;

  Waits(const ways_cell &of) : cell(of), n(ways_number(&of)) {}
  virtual ~Waits() = default;
  virtual int64_t number() { return ways_number(&cell); }
  int64_t operator+(int64_t other) const { return ways_number(&cell) + other; }
  explicit operator int64_t() const { return ways_number(&cell); }
};

struct AtEnd {
  const ways_cell &cell;
  int64_t &sum;
  ~AtEnd() { sum += ways_number(&cell); }
};

struct Counting {
  const ways_cell *cell;
  int64_t at;
  int64_t operator*() const { return at; }
  Counting &operator++() {
    at += ways_number(cell) == cell->n ? 1 : 100;
    return *this;
  }
  bool operator!=(const Counting &other) const { return at != other.at; }
};

struct Range {
  const ways_cell *cell;
  Counting begin() const { return {cell, 0}; }
  Counting end() const { return {cell, 3}; }
};

int say(sidestack_results *results, int64_t number) { return ways_say(results, "%d", static_cast<int>(number)); }

}  // namespace

extern "C" {

#define WAY(name) int ways_cpp_##name(void *, const sidestack_value *args, uint32_t, sidestack_results *results)

WAY(constructor) {
  ways_cell cell = ways_cell_of(args);
  return say(results, Waits(cell).n);
}

WAY(destructor) {
  ways_cell cell = ways_cell_of(args);
  int64_t sum = 0;
  { AtEnd end{cell, sum}; }
  return say(results, sum);
}

WAY(unwinding) {
  ways_cell cell = ways_cell_of(args);
  int64_t sum = 0;
  try {
    AtEnd end{cell, sum};
    throw std::runtime_error("thrown");
  } catch (const std::exception &) {
    sum += ways_number(&cell);
  }
  return say(results, sum);
}

WAY(virtual) {
  ways_cell cell = ways_cell_of(args);
  Waits waits(cell);
  Waits *volatile pointer = &waits;
  return say(results, pointer->number());
}

WAY(operator) {
  ways_cell cell = ways_cell_of(args);
  Waits waits(cell);
  return say(results, (waits + 1) + static_cast<int64_t>(waits));
}

WAY(iterator) {
  ways_cell cell = ways_cell_of(args);
  int64_t sum = 0;
  for (int64_t at : Range{&cell}) sum += at;
  return say(results, sum);
}

WAY(sort) {
  ways_cell cell = ways_cell_of(args);
  std::vector<int> numbers{3, 1, 2};
  std::sort(numbers.begin(), numbers.end(), [&](int a, int b) { return ways_number(&cell) == cell.n && a < b; });
  return ways_say(results, "%d%d%d", numbers[0], numbers[1], numbers[2]);
}

WAY(closure) {
  ways_cell cell = ways_cell_of(args);
  std::function<int64_t()> closure = [cell] { return ways_number(&cell); };
  return say(results, closure());
}
}
