#pragma once
// The documents of one file, over and over, with a position to come back to.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/source_file.h"
#include "tokenizer/tokenizer.h"

namespace lt2 {

/// Where documents lie: bytes [begin, end) of a file, of whose lines this reader uses `offset`, `offset` + block_size,
/// ...
struct FilePart {
  std::string path;
  int64_t begin = 0, end = 0;
  int64_t block_size = 1, offset = 0;
  bool is_file = false;  // the source names the file itself, not the folder it lies in
};

/// Text to the tokens of a document.
struct Encoding {
  const Tokenizer* tokenizer = nullptr;
  bool add_bos = true, add_eos = true;
};

using Tokens = std::shared_ptr<const std::vector<int32_t>>;

/// Reads a part again from its start when it ends. .txt: the part is one document. Everything else: one JSON object a
/// line.
class DocumentReader {
 public:
  struct State {
    int64_t position = 0;      // just after the last line used, in bytes from the start of the file; 0 before the first
    int64_t current_iter = 0;  // finished passes
    bool operator==(const State&) const = default;
  };

  static std::unique_ptr<DocumentReader> open(const FilePart& part, const Encoding& encoding);
  virtual ~DocumentReader();
  DocumentReader(const DocumentReader&) = delete;
  DocumentReader& operator=(const DocumentReader&) = delete;

  /// Tokens of the next document; possibly none. state() is then after it. Throws lt2::Error "file:line: ..." for a
  /// line that cannot be read, and for a part without a document.
  Tokens next();
  const State& state() const { return state_; }
  const FilePart& part() const { return part_; }
  /// Why a reader of this file cannot be at `state` (the file has changed since); empty if it can.
  virtual std::string refusal(const State& state) const = 0;
  void set_state(const State& state) { state_ = state; }

 protected:
  DocumentReader(const FilePart& part, const Encoding& encoding);
  /// The document after state_.position, or null at the end of the part. Moves the position.
  virtual Tokens read() = 0;
  Tokens encode(std::string_view text, int64_t lone_surrogates);

  FilePart part_;
  SourceFile file_;
  State state_;

 private:
  void report_invalid() noexcept;

  Encoding encoding_;
  int64_t invalid_ = 0;
  bool reported_ = false;
};

}  // namespace lt2
