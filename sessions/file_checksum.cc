#include "sessions/file_checksum.h"

#include "runtime/base/hash.h"
#include "sessions/bytes.h"

namespace longhaul::sessions {
namespace {

constexpr const char* kName = "XXH3-128";  // in the MANIFEST

class Generator final : public rocksdb::FileChecksumGenerator {
 public:
  void Update(const char* data, std::size_t n) override { hasher_.update({data, n}); }
  void Finalize() override {
    ByteWriter out;
    out.digest(hasher_.finish());
    checksum_ = out.take();
  }
  std::string GetChecksum() const override { return checksum_; }
  const char* Name() const override { return kName; }

 private:
  Hasher hasher_;
  std::string checksum_;
};

class Factory final : public rocksdb::FileChecksumGenFactory {
 public:
  std::unique_ptr<rocksdb::FileChecksumGenerator> CreateFileChecksumGenerator(
      const rocksdb::FileChecksumGenContext& context) override {
    const std::string& wanted = context.requested_checksum_func_name;
    if (wanted.empty() || wanted == kName) return std::make_unique<Generator>();
    return before_->CreateFileChecksumGenerator(context);  // null for a name nobody knows
  }
  const char* Name() const override { return "longhaul.FileChecksumFactory"; }

 private:
  std::shared_ptr<rocksdb::FileChecksumGenFactory> before_ = rocksdb::GetFileChecksumGenCrc32cFactory();
};

}  // namespace

std::shared_ptr<rocksdb::FileChecksumGenFactory> file_checksum_factory() {
  return std::make_shared<Factory>();
}

}  // namespace longhaul::sessions
