#include "sessions/cached_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <filesystem>
#include <vector>

namespace longhaul::sessions {
namespace {

constexpr std::size_t kBytes = std::size_t{1} << 20;
constexpr long kTmpfs = 0x01021994;  // man 2 statfs: its files are nowhere else

std::size_t pages_in_cache(int fd) {
  void* at = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd, 0);
  EXPECT_NE(at, MAP_FAILED);
  std::vector<unsigned char> resident(kBytes / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(::mincore(at, kBytes, resident.data()), 0);
  ::munmap(at, kBytes);
  std::size_t n = 0;
  for (const unsigned char page : resident) n += page & 1U;
  return n;
}

TEST(CachedFile, LeavesTheCacheUnderWhateverName) {
  std::string path = (std::filesystem::temp_directory_path() / "longhaul-cached-XXXXXX").string();
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  struct statfs about;
  ASSERT_EQ(::fstatfs(fd, &about), 0);
  const std::string bytes(kBytes, 'x');
  ASSERT_EQ(::write(fd, bytes.data(), kBytes), static_cast<ssize_t>(kBytes));
  ASSERT_EQ(::fsync(fd), 0);
  CachedFile file(path);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  const std::size_t before = pages_in_cache(fd);
  CachedFile moved(std::move(file));
  moved.leave_cache();
  const std::size_t left = pages_in_cache(fd);
  ::close(fd);
  if (about.f_type == kTmpfs) GTEST_SKIP() << "the folder for temporary files is in memory";
  EXPECT_LT(left, before);
}

TEST(CachedFile, WhatCannotBeOpenedIsLeftAlone) {
  const CachedFile file("/nowhere/at/all");
  file.leave_cache();
}

}  // namespace
}  // namespace longhaul::sessions
