/** Measures of a language model's quality. */
@NullMarked
package io.winnow.core.evaluate;

import org.jspecify.annotations.NullMarked;
