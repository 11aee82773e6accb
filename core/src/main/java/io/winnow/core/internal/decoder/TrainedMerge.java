package io.winnow.core.internal.decoder;

import ai.djl.ndarray.NDArray;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.routing.MappedRouting;
import org.jspecify.annotations.Nullable;

/**
 * A layer's merge as arrays that can be differentiated.
 *
 * @param routing routes by the present W_RM
 * @param routerMapping W_RM {@code [r, n]} float32; null to differentiate by nothing
 * @param weights of the r merged experts, functions of W_EM
 */
public record TrainedMerge(
    MappedRouting routing, @Nullable NDArray routerMapping, ExpertWeights weights) {}
