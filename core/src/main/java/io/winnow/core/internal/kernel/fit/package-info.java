/** Least squares for the last matrices of experts, and distances between models' predictions. */
@NullMarked
package io.winnow.core.internal.kernel.fit;

import org.jspecify.annotations.NullMarked;
