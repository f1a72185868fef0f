#pragma once
// The one way torch enters a file: precompiled once for the whole tree. What is listed is what the tree uses; all of
// <torch/torch.h> would cost each file three times as long to compile (its optimizers, layers and data loaders are
// instantiated in every file that sees them).
#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>
#include <torch/utils.h>
