#pragma once
// The one way torch enters a file: precompiled once for the whole tree (a bare include costs 11 s a file).
#include <torch/torch.h>
