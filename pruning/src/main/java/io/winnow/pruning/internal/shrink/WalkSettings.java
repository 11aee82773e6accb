package io.winnow.pruning.internal.shrink;

import ai.djl.Device;
import ai.djl.util.Progress;

/**
 * How a walk is done.
 *
 * @param device where layers compute
 * @param batchTokens about how many tokens run through a layer's attention at a time
 * @param memoryBytes how much the equations of a layer's repair may take
 * @param repair whether last matrices are fitted
 * @param progress is told of every layer
 * @param interrupted what is said when the thread is interrupted
 */
public record WalkSettings(
    Device device,
    int batchTokens,
    long memoryBytes,
    boolean repair,
    Progress progress,
    String interrupted) {}
