/**
 * How likely a model finds token sequences: texts cut into contexts and continuations, and the two
 * ways to compute them, with a cache or without. What sequences have in common is computed once.
 */
@NullMarked
package io.winnow.core.internal.scoring;

import org.jspecify.annotations.NullMarked;
