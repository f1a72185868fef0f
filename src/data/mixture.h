#pragma once
// Documents from several weighted sources, drawn as numpy's Generator.choice draws.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "data/document_reader.h"

namespace lt2 {

class Mixture {
 public:
  struct State {
    std::vector<DocumentReader::State> readers;  // in the order of the sources
    Pcg64::State rng;
    bool operator==(const State&) const = default;
  };
  struct Source {
    std::string name;
    double weight = 1;
    FilePart part;
  };

  /// Throws lt2::Error unless every weight is finite and >= 0 and one is above 0.
  Mixture(const std::vector<Source>& sources, const Encoding& encoding, const Pcg64& rng);

  /// The next document of the source that the next draw chooses; empty ones are passed over. Throws lt2::Error for a
  /// source of which a whole pass gives no token.
  Tokens next();
  /// The file that the last document came from.
  const std::string& last_path() const { return readers_[last_]->part().path; }

  State state() const;
  void set_state(const State& state);

  size_t size() const { return readers_.size(); }
  const DocumentReader& reader(size_t source) const { return *readers_[source]; }
  /// Reads source number `source` from another part from now on.
  void set_part(size_t source, const FilePart& part);

 private:
  size_t choose();

  Encoding encoding_;
  std::vector<std::unique_ptr<DocumentReader>> readers_;
  std::vector<int64_t> fruitful_iter_;  // the last pass of each source that gave a token
  std::vector<double> cumulative_;
  Pcg64 rng_;
  size_t last_ = 0;
};

}  // namespace lt2
