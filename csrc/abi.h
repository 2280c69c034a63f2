/* Everything that C and Rust both see of the bridge: what src/abi/bindings.rs is generated from. */
#include "api.h"
#include "crossing.h"
#include "export.h"
#include "faults.h"
#include "native.h"
#include "signals.h"
#include "tick.h"
#include "way_in.h"
