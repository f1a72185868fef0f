#pragma once
// checksums.json, written last into a folder: says that the folder is complete and what its files must be.
//
//   {"model.safetensors": {"bytes": 1234, "crc32": "cbf43926"}, ...}
#include <filesystem>
#include <string>
#include <vector>

namespace lt2 {

/// CRC-32 of the file's bytes as zlib computes it, 8 hexadecimal digits. Throws lt2::Error if it cannot be read.
std::string file_crc32(const std::filesystem::path& path);

/// Writes FOLDER/checksums.json with size and checksum of every other file in the folder and below it.
void write_checksums(const std::filesystem::path& folder);

/// Reads every file that checksums.json lists. Throws lt2::Error naming the first that is missing or differs in size or
/// checksum. Files that are not listed do not matter.
void verify_checksums(const std::filesystem::path& folder);

/// For readers of only some files of a folder: checks those of `names` that checksums.json lists, whatever else is
/// there or missing. Throws lt2::Error naming the first that differs in size or checksum, and for a list that cannot be
/// read. One line names what cannot be verified: files that are not listed, or all of them if there is no list,
/// and listed ones that are gone.
void verify_files(const std::filesystem::path& folder, const std::vector<std::string>& names);

/// What verify_checksums would say without reading any file but checksums.json: that it is not there, or a file that it
/// lists is missing or has another size. Empty: nothing. Never throws.
std::string incompleteness(const std::filesystem::path& folder);
inline bool is_complete(const std::filesystem::path& folder) { return incompleteness(folder).empty(); }

}  // namespace lt2
