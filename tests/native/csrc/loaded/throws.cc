// C++ guest code that throws: what stops an exception, and where.
#include <sidestack.h>

#include <exception>
#include <stdexcept>

namespace {

struct Counted {
  int64_t *count;
  ~Counted() { ++*count; }
};

int throws(void *data, const sidestack_value *, uint32_t, sidestack_results *) {
  Counted counted{static_cast<int64_t *>(data)};
  throw std::runtime_error("thrown by a callback");
}

int64_t unwound;

}  // namespace

extern "C" {

// Leaves the fiber's first function.
int cpp_throw(void *, const sidestack_value *args, uint32_t, sidestack_results *) {
  Counted counted{&unwound};
  if (sidestack_int_or(&args[0], 0)) throw 7;
  throw std::runtime_error("thrown on a fiber");
}

int cpp_unwound(void *, const sidestack_value *, uint32_t, sidestack_results *results) {
  sidestack_value run[] = {sidestack_int(unwound), sidestack_int(std::uncaught_exceptions())};
  return sidestack_results_set(results, run, 2);
}

// Leaves a callback, towards a host call: the host function gets an error, and so does this one, as a status.
int cpp_callback(void *, const sidestack_value *, uint32_t, sidestack_results *results) {
  sidestack_value run[2] = {sidestack_nil(), sidestack_int(1)};
  int64_t count = 0;
  if (sidestack_callback(throws, &count, nullptr, &run[0])) return SIDESTACK_ERROR;
  int status = sidestack_call_name("t.apply", run, 2, results);
  sidestack_callback_release(run[0]);
  sidestack_value told[] = {sidestack_int(status), sidestack_string(sidestack_error_code()),
                            sidestack_string(sidestack_error_message()), sidestack_int(count)};
  return sidestack_results_set(results, told, 4);
}

// Throws through sidestack_callback_call: the same barrier.
int cpp_direct(void *, const sidestack_value *, uint32_t, sidestack_results *results) {
  sidestack_value callback;
  int64_t count = 0;
  if (sidestack_callback(throws, &count, nullptr, &callback)) return SIDESTACK_ERROR;
  int status = sidestack_callback_call(callback, nullptr, 0, nullptr);
  sidestack_callback_release(callback);
  return sidestack_return(results, sidestack_int(status));
}

// Waits with an exception in hand: each fiber has its own.
int cpp_wait_in_catch(void *, const sidestack_value *args, uint32_t, sidestack_results *results) {
  int64_t number = sidestack_int_or(&args[0], 0);
  try {
    throw number;
  } catch (int64_t caught) {
    for (int i = 0; i < 5; i++)
      if (sidestack_sleep(0.001 * static_cast<double>(number % 3 + 1))) return SIDESTACK_ERROR;
    try {
      throw;
    } catch (int64_t again) {
      if (again != number || caught != number) return sidestack_fail("test", "another fiber's exception");
    }
  }
  return sidestack_return(results, sidestack_int(number));
}

// A scalar function that throws.
int64_t cpp_scalar(int64_t a) {
  if (a < 0) throw std::out_of_range("negative");
  return a;
}
}
