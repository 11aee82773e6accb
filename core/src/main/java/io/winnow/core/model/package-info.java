/**
 * Checkpoint folders as DJL models: {@link io.winnow.core.model.MoeModels} loads, writes and
 * inspects them.
 */
@NullMarked
package io.winnow.core.model;

import org.jspecify.annotations.NullMarked;
