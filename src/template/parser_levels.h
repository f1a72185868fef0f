#pragma once
// What the parser keeps count of while it goes into something and out again.
#include "template/parser.h"

namespace lt2::jinja {

class Parser::Nested {
 public:
  explicit Nested(Parser& parser) : parser_(parser) {
    if (++parser_.depth_ > parser_.limit_)
      parser_.refuse(parser_.now().line, fmt::format("nested deeper than the {} levels it may", parser_.limit_));
  }
  ~Nested() { --parser_.depth_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;

 private:
  Parser& parser_;
};

class Parser::Outside {
 public:
  Outside(Parser& parser, bool ends_loops)
      : parser_(parser), loops_(parser.loops_), conditions_(std::exchange(parser.conditions_, 0)) {
    if (ends_loops) parser_.loops_ = 0;
  }
  ~Outside() {
    parser_.loops_ = loops_;
    parser_.conditions_ = conditions_;
  }
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;

 private:
  Parser& parser_;
  int loops_, conditions_;
};

}  // namespace lt2::jinja
