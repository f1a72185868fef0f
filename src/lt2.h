#pragma once
// A program that uses the library includes <lt2/lt2.h>, or single headers of this list, such as <lt2/infer/engine.h>.
// These headers and those that they include are installed; every other header is private and may change at any time
// (cmake/public_headers.cmake).
#include "base/error.h"                // the exception that every function below throws: one line for a user
#include "config/train_config.h"       // configurations: read, checked, written
#include "folders/model_folder.h"      // open a model: a run, an Ouro or Hugging Face folder, a PyTorch file
#include "folders/packed_folder.h"     // open it for inference, with packed weights
#include "infer/engine.h"              // generate and score, many requests at once
#include "infer/generate.h"            // one request, one prompt
#include "infer/text_session.h"        // text in, text out, with the model's own settings
#include "infer/text_stream.h"         // tokens to text as they come
#include "model/looped_transformer.h"  // the model itself: hidden states, logits, losses, steps
#include "model/sequence_state.h"      // what a sequence remembers: keep, clone, save, load
#include "model/taps.h"                // look inside a pass: layers, loops, states
#include "ops/runtime.h"               // init_runtime: call it first
#include "tokenizer/tokenizer.h"       // text to ids and back
#include "train/trainer.h"             // a training run from a configuration
