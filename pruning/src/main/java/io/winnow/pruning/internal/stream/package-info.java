/** Checkpoints larger than memory, pruned layer by layer in a run that can be killed. */
@NullMarked
package io.winnow.pruning.internal.stream;

import org.jspecify.annotations.NullMarked;
