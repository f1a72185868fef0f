#pragma once
// Decoders of tokenizer.json: from tokens back to text, token by token.
#include <memory>
#include <string>
#include <vector>

#include "base/json_field.h"

namespace lt2 {

/// The stages of a decoder. Some look at tokens one by one, some at the whole text; a run of it gives out what is
/// certain.
class HfDecoder {
 public:
  /// Without a decoder in the file tokens are joined by spaces.
  HfDecoder();
  /// ByteLevel, Metaspace, ByteFallback, Fuse, Replace, Strip and Sequence. Throws lt2::Error for other types and for
  /// fields of the wrong kind.
  explicit HfDecoder(const JsonField& field);

  /// Tokens' bytes are the text: no token depends on its neighbours.
  bool is_byte_level() const;
  /// Whether <0xNN> stands for a byte.
  bool has_byte_fallback() const;

  /// One text being decoded.
  class Run {
   public:
    virtual ~Run() = default;
    /// Bytes that became certain; a character may be cut off at their end.
    virtual std::string push(const std::string& token) = 0;
    virtual std::string finish() = 0;
  };
  /// The decoder must outlive the run. `middle`: as if tokens had come before.
  std::unique_ptr<Run> start(bool middle = false) const;

 private:
  struct Stage;
  class Stages;
  std::vector<std::shared_ptr<const Stage>> stages_;
  void add(const JsonField& field, int depth);
};

/// The byte of "<0xNN>", or -1.
int byte_of_fallback(std::string_view token);

}  // namespace lt2
