// glibc_2_28.cpp -- lets a prebuild, which carries libstdc++ in it, load where the C library is glibc 2.28. Any thread.
//
// A linker takes the newest version of each symbol of the C library that it finds. Here stand the symbols that are newer than
// 2.28 where prebuilds are made, each with __wrap_ before its name: `ld --wrap=NAME` (gyp-inputs.cjs reads the names off this file) sends
// every call of NAME here, those from libstdc++.a too. Most go on to the version that the C library has had from its first
// release for the architecture on, and still has: 2.34 moved libpthread and libdl into libc, 2.33 made stat a function of its
// own, 2.32 did so with pthread_sigmask. test/package/tarball.test.ts asserts the outcome with objdump.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#if defined(__x86_64__)
#define FIRST_VERSION "GLIBC_2.2.5"
// pthread_setname_np came later than the architecture.
#define SETNAME_VERSION "GLIBC_2.12"
constexpr int kStatVersion = 1;
#elif defined(__aarch64__)
#define FIRST_VERSION "GLIBC_2.17"
#define SETNAME_VERSION "GLIBC_2.17"
constexpr int kStatVersion = 0;
#else
#error "no prebuild is made for this architecture: its first version of the C library's symbols is not known here"
#endif

#define OLD(name, version) __asm__(".symver old_" #name "," #name "@" version)

extern "C" {

OLD(pthread_once, FIRST_VERSION);
int old_pthread_once(pthread_once_t* control, void (*routine)());
int __wrap_pthread_once(pthread_once_t* control, void (*routine)()) {
  return old_pthread_once(control, routine);
}

OLD(pthread_create, FIRST_VERSION);
int old_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*routine)(void*), void* argument);
int __wrap_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*routine)(void*),
                          void* argument) {
  return old_pthread_create(thread, attributes, routine, argument);
}

OLD(pthread_join, FIRST_VERSION);
int old_pthread_join(pthread_t thread, void** result);
int __wrap_pthread_join(pthread_t thread, void** result) {
  return old_pthread_join(thread, result);
}

OLD(pthread_detach, FIRST_VERSION);
int old_pthread_detach(pthread_t thread);
int __wrap_pthread_detach(pthread_t thread) {
  return old_pthread_detach(thread);
}

OLD(pthread_key_create, FIRST_VERSION);
int old_pthread_key_create(pthread_key_t* key, void (*destructor)(void*));
int __wrap_pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) {
  return old_pthread_key_create(key, destructor);
}
// libstdc++ looks at its address only, to learn whether there are threads.
int __wrap___pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) {
  return old_pthread_key_create(key, destructor);
}

OLD(pthread_key_delete, FIRST_VERSION);
int old_pthread_key_delete(pthread_key_t key);
int __wrap_pthread_key_delete(pthread_key_t key) {
  return old_pthread_key_delete(key);
}

OLD(pthread_getspecific, FIRST_VERSION);
void* old_pthread_getspecific(pthread_key_t key);
void* __wrap_pthread_getspecific(pthread_key_t key) {
  return old_pthread_getspecific(key);
}

OLD(pthread_setspecific, FIRST_VERSION);
int old_pthread_setspecific(pthread_key_t key, const void* value);
int __wrap_pthread_setspecific(pthread_key_t key, const void* value) {
  return old_pthread_setspecific(key, value);
}

OLD(pthread_setname_np, SETNAME_VERSION);
int old_pthread_setname_np(pthread_t thread, const char* name);
int __wrap_pthread_setname_np(pthread_t thread, const char* name) {
  return old_pthread_setname_np(thread, name);
}

OLD(pthread_sigmask, FIRST_VERSION);
int old_pthread_sigmask(int how, const sigset_t* set, sigset_t* before);
int __wrap_pthread_sigmask(int how, const sigset_t* set, sigset_t* before) {
  return old_pthread_sigmask(how, set, before);
}

OLD(dlopen, FIRST_VERSION);
void* old_dlopen(const char* file, int mode);
void* __wrap_dlopen(const char* file, int mode) {
  return old_dlopen(file, mode);
}

OLD(dlsym, FIRST_VERSION);
void* old_dlsym(void* handle, const char* name);
void* __wrap_dlsym(void* handle, const char* name) {
  return old_dlsym(handle, name);
}

OLD(dlerror, FIRST_VERSION);
char* old_dlerror();
char* __wrap_dlerror() {
  return old_dlerror();
}

OLD(dlclose, FIRST_VERSION);
int old_dlclose(void* handle);
int __wrap_dlclose(void* handle) {
  return old_dlclose(handle);
}

// What stat and its kin were until 2.33: inline calls of these, with the version of the structure. On both architectures
// struct stat64 is struct stat.
OLD(__xstat, FIRST_VERSION);
int old___xstat(int version, const char* path, struct stat* status);
OLD(__fxstat, FIRST_VERSION);
int old___fxstat(int version, int file, struct stat* status);
OLD(__lxstat, FIRST_VERSION);
int old___lxstat(int version, const char* path, struct stat* status);
int __wrap_stat(const char* path, struct stat* status) {
  return old___xstat(kStatVersion, path, status);
}
int __wrap_stat64(const char* path, struct stat* status) {
  return old___xstat(kStatVersion, path, status);
}
int __wrap_fstat(int file, struct stat* status) {
  return old___fxstat(kStatVersion, file, status);
}
int __wrap_fstat64(int file, struct stat* status) {
  return old___fxstat(kStatVersion, file, status);
}
int __wrap_lstat(const char* path, struct stat* status) {
  return old___lxstat(kStatVersion, path, status);
}
int __wrap_lstat64(const char* path, struct stat* status) {
  return old___lxstat(kStatVersion, path, status);
}

// 2.32's hint that no second thread was ever started: never so, where there is an event loop.
char __wrap___libc_single_threaded = 0;

// What std::random_device takes from 2.36 on.
unsigned __wrap_arc4random() {
  unsigned number = 0;
  while (::getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) {
  }
  return number;
}

// From 2.30 on. Before, a wait is by the wall clock, which somebody may set: so it is cut into short ones.
int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                                  const timespec* until) {
  using Wait = int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
  static const Wait wait = reinterpret_cast<Wait>(old_dlsym(RTLD_DEFAULT, "pthread_cond_clockwait"));
  if (wait != nullptr) return wait(condition, mutex, clock, until);
  constexpr long kSecond = 1'000'000'000;
  constexpr long kSlice = 100'000'000;
  timespec now{};
  ::clock_gettime(clock, &now);
  const bool late = now.tv_sec > until->tv_sec || (now.tv_sec == until->tv_sec && now.tv_nsec >= until->tv_nsec);
  long left = late ? 0 : kSlice;
  if (!late && until->tv_sec - now.tv_sec < 2) {
    const long whole = (until->tv_sec - now.tv_sec) * kSecond + until->tv_nsec - now.tv_nsec;
    if (whole < kSlice) left = whole;
  }
  timespec end{};
  ::clock_gettime(CLOCK_REALTIME, &end);
  end.tv_nsec += left;
  if (end.tv_nsec >= kSecond) {
    ++end.tv_sec;
    end.tv_nsec -= kSecond;
  }
  const int ended = ::pthread_cond_timedwait(condition, mutex, &end);
  // Who waits looks at its condition and at its clock, as after any wake-up without a reason, and waits again.
  if (ended == ETIMEDOUT && left == kSlice) return 0;
  return ended;
}

}  // extern "C"
