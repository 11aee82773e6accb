package io.winnow.core.internal.decoder;

import io.winnow.core.internal.kernel.array.DeviceTensor;
import org.jspecify.annotations.Nullable;

/**
 * The experts that every token takes, as one.
 *
 * @param gate {@code [1, d]}, of whose logit the sigmoid is the weight; null for 1
 */
public record SharedExpert(SparseMoe.Expert expert, @Nullable DeviceTensor gate) {}
