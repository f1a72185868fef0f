#pragma once
// Results, on standard output. All commands write them here, so that none is lost without a word: the first write that
// fails is thrown, and again whenever more is to be written. main flushes at the end.
#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "base/error.h"

namespace lt2 {

/// The reader of standard output is gone ("| head"). Nobody can be told, so the program ends silently.
class OutputClosed : public Error {
 public:
  OutputClosed() : Error("standard output: its reader is gone") {}
};

/// What main does before anything else. Opens /dev/null where descriptor 0, 1 or 2 is closed, or a file that is opened
/// later would be taken for standard output; in the wrong direction, so that to use it is an error still. A pipe closed
/// by its reader becomes an error of the write that meets it instead of a signal that ends a run.
void prepare_standard_streams();

/// Throws OutputClosed, or lt2::Error with the reason. What was written last may come later, at the latest with
/// flush_out; on a terminal whole lines come at once.
void write_out(std::string_view text);
void flush_out();

template <typename... Args>
void print_out(fmt::format_string<Args...> format, Args&&... args) {
  write_out(fmt::format(format, std::forward<Args>(args)...));
}

/// Ends the process as others that write into a closed pipe do: of SIGPIPE, status 141 for a shell.
[[noreturn]] void end_of_closed_pipe();

}  // namespace lt2
