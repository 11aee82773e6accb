/** The steps of a single token of a small model, in plain Java. */
@NullMarked
package io.winnow.core.internal.kernel.single;

import org.jspecify.annotations.NullMarked;
