#!/usr/bin/env bash
# No file is over 800 lines and no function over 100, so that each can be read at once. Usage: scripts/test-sizes.sh
# A function, a lambda or another block with parentheses before its brace counts from the first line of its statement to its closing brace.
set -euo pipefail
cd "$(dirname "$0")/.."
find src tests bench examples fuzz -name '*.cpp' -o -name '*.h' | sort | xargs perl -e '
  my ($most_lines, $longest) = (800, 100);
  # Exceptions: long flat functions that stay whole, FILE:FUNCTION => why.
  my %allowed = (
    "src/checkpoint/pickle_reader.cpp:step" => "a flat switch: one case an operation of the pickle machine",
    "tests/config/recipes_test.cpp:official_keys" => "a flat table: one line a key",
  );
  my $failed = 0;
  sub complain { print STDERR "@_\n"; $failed = 1; }
  for my $file (@ARGV) {
    open(my $in, "<", $file) or die "$file: $!\n";
    local $/;
    my $code = <$in>;
    my $lines = ($code =~ tr/\n//);
    complain("$file: $lines lines, at most $most_lines. Split it") if $lines > $most_lines;
    # Comments, texts, characters and preprocessor lines may hold braces of their own; their line ends stay.
    $code =~ s{(R"([^()\s]*)\(.*?\)\g2"|//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|(?<![0-9a-fA-F])\x27(?:[^\x27\\\n]|\\.)+\x27|^\#(?:[^\n]*\\\n)*[^\n]*)}
              {my $text = $1; "0" . ($text =~ s/[^\n]//gr)}gmse;
    my ($line, $statement, $begin, $parens, @open) = (1, "", 1, 0);
    for my $token ($code =~ /([{};()\n]|[^{};()\n]+)/g) {
      if ($token eq "\n") { $line++; $statement .= " "; next; }
      $begin = $line if $statement !~ /\S/;
      if ($token eq "{") {
        my $head = $statement;
        1 while $head =~ s/<[^<>]*>//g;
        1 while $head =~ s/\([^()]*\)/@/g;
        my $scope = $head =~ /\b(namespace|class|struct|enum|union)\b/ || $head !~ /[@(]/;
        push @open, [$begin, $scope ? "" : $statement, $parens];
        ($statement, $parens) = ("", 0);
      } elsif ($token eq "}") {
        if (!@open) { complain("$file:$line: a brace too many"); last; }
        my ($from, $head, $before) = @{pop @open};
        my $length = $line - $from + 1;
        if ($head ne "" && $length > $longest && !grep { $_->[1] ne "" } @open) {
          my ($name) = $head =~ /([\w:~]+)\s*\(/;
          complain("$file:$from: $name is $length lines long, at most $longest. Split it") unless $allowed{"$file:$name"};
        }
        # An initialiser does not end its statement.
        ($statement, $parens) = $before > 0 ? ("(", $before) : ("", 0);
      } elsif ($token eq ";" && $parens == 0) {
        $statement = "";
      } else {
        $parens++ if $token eq "(";
        $parens-- if $token eq ")" && $parens > 0;
        $statement .= $token;
      }
    }
    complain("$file: braces do not match") if @open;
  }
  exit $failed;
'
