/**
 * The seam between a running Mixture-of-Experts model and everything that prunes, skips or measures
 * it: {@link io.winnow.core.MoeModel}, {@link io.winnow.core.MoeLayerView}, routing and
 * calibration.
 */
@NullMarked
package io.winnow.core;

import org.jspecify.annotations.NullMarked;
