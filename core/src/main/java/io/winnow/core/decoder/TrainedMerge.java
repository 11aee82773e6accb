package io.winnow.core.decoder;

import ai.djl.ndarray.NDArray;
import io.winnow.core.MappedRouting;
import io.winnow.core.kernel.ExpertWeights;
import org.jspecify.annotations.Nullable;

/**
 * A layer's merge as arrays that can be differentiated.
 *
 * @param routing routes by the present W_RM
 * @param routerMapping W_RM {@code [r, n]} float32; null to differentiate by nothing
 * @param weights of the r merged experts, functions of W_EM
 */
record TrainedMerge(
    MappedRouting routing, @Nullable NDArray routerMapping, ExpertWeights weights) {}
