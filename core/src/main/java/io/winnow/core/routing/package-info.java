/** The kinds of routing: how router logits become experts and weights, family by family. */
@NullMarked
package io.winnow.core.routing;

import org.jspecify.annotations.NullMarked;
