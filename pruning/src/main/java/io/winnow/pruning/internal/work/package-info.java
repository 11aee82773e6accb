/** How work is run: on the caller's thread and executor, with the caller's progress listener. */
@NullMarked
package io.winnow.pruning.internal.work;

import org.jspecify.annotations.NullMarked;
