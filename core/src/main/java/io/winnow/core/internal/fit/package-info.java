/** Least squares for the last matrices of experts, and distances between models' predictions. */
@NullMarked
package io.winnow.core.internal.fit;

import org.jspecify.annotations.NullMarked;
