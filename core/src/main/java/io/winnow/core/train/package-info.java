/** Fine-tuning of a model, and merges of experts that gradients find. */
@NullMarked
package io.winnow.core.train;

import org.jspecify.annotations.NullMarked;
