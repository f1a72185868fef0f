#pragma once
// Names that a block sets before it reads them: until then they are undefined there, even if a variable has the name.
#include "template/syntax.h"

namespace lt2::jinja {

/// Fills `hidden` of the tree and of all statements in it. jinja2 decides this before a template runs: a name that
/// stands on the left of a set before it is read in the same block, outside of conditions, and that no block around
/// has, is the block's own from its start. Only blocks inside that one can notice.
void find_hidden_names(Tree& tree);

}  // namespace lt2::jinja
