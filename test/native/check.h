// check.h -- what a native test needs and no more. Every *_test.cpp is an executable of its own:
//
//   #include "check.h"
//   TEST(a_closed_ring_refuses_appends) { CHECK(ring.closed()); CHECK_EQ(ring.size(), 0u); }
//
// A failed CHECK leaves the test; the others still run. check::skip(why) leaves it, too. CHECKs belong on the test's own thread. Run with a substring
// of a name to run only those tests. check::random() is seeded from RC_SEED, or at random; the seed is printed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace check {

struct Failure {
  std::string text;
};

// Leaves a test that cannot be asked here; why is printed, and it counts as skipped.
struct Skipped {
  std::string why;
};

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

struct Registration {
  Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline std::uint64_t seed() {
  static const char* given = std::getenv("RC_SEED");
  static const std::uint64_t value = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  return value;
}

// Seeded anew for each test, so that a test gives the same numbers when it runs alone.
inline std::mt19937_64& random() {
  static std::mt19937_64 generator{seed()};
  return generator;
}

// RC_LONG=1 asks for the full count of random tests; otherwise a fraction of it is enough.
inline std::uint64_t rounds(std::uint64_t fullCount, std::uint64_t quickCount) {
  const char* full = std::getenv("RC_LONG");
  return full != nullptr && std::strcmp(full, "1") == 0 ? fullCount : quickCount;
}

template <typename T>
std::string show(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else if constexpr (sizeof(T) == 1 && std::is_integral_v<T>) {
    return std::to_string(static_cast<int>(value));
  } else if constexpr (requires(std::ostream & out) { out << value; }) {
    std::ostringstream out;
    out << value;
    return out.str();
  } else {
    return "?";
  }
}

[[noreturn]] inline void skip(const std::string& why) {
  throw Skipped{why};
}

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  throw Failure{std::string(file) + ":" + std::to_string(line) + " " + what};
}

template <typename A, typename B>
void equal(const A& actual, const B& expected, const char* file, int line, const char* text) {
  if (!(actual == expected)) fail(file, line, std::string(text) + ": " + show(actual) + " is not " + show(expected));
}

inline int run(int argc, char** argv) {
  int passed = 0;
  int failed = 0;
  std::printf("# seed %llu\n", static_cast<unsigned long long>(seed()));
  for (const Test& test : tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    random().seed(seed());
    std::string why;
    try {
      test.body();
    } catch (const Skipped& skipped) {
      std::printf("# skipped 1 test, %s: %s\n", test.name, skipped.why.c_str());
      std::fflush(stdout);
      continue;
    } catch (const Failure& failure) {
      why = failure.text;
    } catch (const std::exception& error) {
      why = std::string("threw ") + error.what();
    }
    why.empty() ? ++passed : ++failed;
    std::printf(why.empty() ? "ok %s\n" : "not ok %s: %s\n", test.name, why.c_str());
    std::fflush(stdout);
  }
  std::printf("# %d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                                          \
  static void test_##name();                                                \
  static const check::Registration registration_##name{#name, test_##name}; \
  static void test_##name()
#define CHECK(condition) ((condition) ? void() : check::fail(__FILE__, __LINE__, #condition))
#define CHECK_EQ(actual, expected) check::equal(actual, expected, __FILE__, __LINE__, #actual " == " #expected)

int main(int argc, char** argv) {
  return check::run(argc, argv);
}
