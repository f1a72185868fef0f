#pragma once
// checksums.json, written last into a folder: says that the folder is complete and what its files must be.
//
//   {"model.safetensors": {"bytes": 1234, "crc32": "cbf43926"}, ...}
#include <filesystem>
#include <string>

namespace lt2 {

/// CRC-32 of the file's bytes as zlib computes it, 8 hexadecimal digits. Throws lt2::Error if it cannot be read.
std::string file_crc32(const std::filesystem::path& path);

/// Writes FOLDER/checksums.json with size and checksum of every other file in the folder and below it.
void write_checksums(const std::filesystem::path& folder);

/// Reads every file that checksums.json lists. Throws lt2::Error naming the first that is missing or differs in size or
/// checksum. Files that are not listed do not matter.
void verify_checksums(const std::filesystem::path& folder);

/// Whether checksums.json is there and every file it lists has its size. Reads no file but that one, and never throws.
bool is_complete(const std::filesystem::path& folder);

}  // namespace lt2
