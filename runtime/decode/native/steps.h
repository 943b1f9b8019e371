/* The work of decode.c, for one instruction set: TARGET names it, NAME tells its functions from the others'.
 * Plain loops, which compilers turn into vectors; LANES and STREAM are there where stores can pass by the caches.
 * No guards: decode.c includes it several times. */

#include "samples.h"

#include "labels.h"

#include "probabilities.h"
