package io.winnow.core;

import org.jspecify.annotations.Nullable;

/**
 * Where a pruned model comes from; stored in the {@code winnow} object of its {@code config.json}.
 *
 * @param method the pruning method's name
 * @param calibration the calibration tokens' digest, null if none were used
 * @param seed the seed of everything random
 * @param source the digest of the checkpoint that was pruned, null if it is not known
 */
public record Provenance(
    String method, @Nullable String calibration, long seed, @Nullable String source) {}
