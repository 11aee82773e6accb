/**
 * The best model of a given size: experts with fewer channels, the repair of what is left, and the
 * choice between these and removing experts by measuring each.
 *
 * <p>{@link io.winnow.pruning.shrink.ModelShrinker} chooses and writes; {@link
 * io.winnow.pruning.shrink.ExpertNarrower} does what it is told.
 */
@NullMarked
package io.winnow.pruning.shrink;

import org.jspecify.annotations.NullMarked;
