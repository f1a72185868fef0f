// What a SentencePiece model file says: its pieces and settings.
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/utf8.h"
#include "tokenizer/proto.h"
#include "tokenizer/sentencepiece.h"

namespace lt2 {

void SentencePieceTokenizer::read(std::string_view content) {
  each_field(content, where_, [&](const ProtoField& field) {
    if (field.number == 1) read_piece(field.bytes);
    if (field.number == 2) read_trainer(field.bytes);
    if (field.number == 3) read_normalizer(field.bytes);
    if (field.number == 5) {
      each_field(field.bytes, where_, [&](const ProtoField& inner) {
        LT2_CHECK(inner.number != 2 || inner.bytes.empty(), "{}: denormalizer_spec is not supported", where_);
      });
    }
  });
}

void SentencePieceTokenizer::read_piece(std::string_view message) {
  Piece piece;
  each_field(message, where_, [&](const ProtoField& field) {
    if (field.number == 1) piece.text = field.bytes;
    if (field.number == 2 && field.bytes.size() == 4) std::memcpy(&piece.score, field.bytes.data(), 4);
    if (field.number == 3) piece.type = static_cast<Type>(field.value);
  });
  const size_t id = pieces_.size();
  LT2_CHECK(!piece.text.empty() && count_invalid_utf8(piece.text) == 0, "{}: piece {} is empty or no UTF-8", where_,
            id);
  LT2_CHECK(piece.type >= Type::kNormal && piece.type <= Type::kByte, "{}: piece {} has type {}; 1 to 6 are known",
            where_, id, static_cast<uint64_t>(piece.type));
  LT2_CHECK(std::isfinite(piece.score), "{}: piece {} has no finite score", where_, id);
  pieces_.push_back(std::move(piece));
}

void SentencePieceTokenizer::read_trainer(std::string_view message) {
  each_field(message, where_, [&](const ProtoField& field) {
    switch (field.number) {
      case 3:
        LT2_CHECK(field.value >= 1 && field.value <= 4, "{}: model_type {}; 1 to 4 are known", where_, field.value);
        settings_.model = static_cast<Model>(field.value);
        break;
      case 24:
        settings_.whitespace_as_suffix = field.value != 0;
        break;
      case 35:
        settings_.byte_fallback = field.value != 0;
        break;
      case 44:
        settings_.unk_surface = field.bytes;
        break;
      case 45:
        settings_.unk_piece = field.bytes;
        break;
      case 46:
        settings_.bos_piece = field.bytes;
        break;
      case 47:
        settings_.eos_piece = field.bytes;
        break;
      case 48:
        settings_.pad_piece = field.bytes;
        break;
      default:
        break;
    }
  });
}

void SentencePieceTokenizer::read_normalizer(std::string_view message) {
  each_field(message, where_, [&](const ProtoField& field) {
    if (field.number == 2) settings_.charsmap = field.bytes;
    if (field.number == 3) settings_.add_dummy_prefix = field.value != 0;
    if (field.number == 4) settings_.remove_extra_whitespaces = field.value != 0;
    if (field.number == 5) settings_.escape_whitespaces = field.value != 0;
  });
}

}  // namespace lt2
