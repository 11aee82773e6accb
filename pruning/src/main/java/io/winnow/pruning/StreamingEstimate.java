package io.winnow.pruning;

import java.time.Duration;

/**
 * What pruning a checkpoint layer by layer will take.
 *
 * @param time to compute, extrapolated from a few hundred tokens that ran through the attention and
 *     one expert of the first layer with experts; dense layers and the disk come on top. Zero where
 *     nothing is computed
 * @param memoryBytes anonymous memory beside that of the JVM and the engine
 * @param layerBytes the largest layer, which the page cache should hold (twice, to read ahead)
 * @param outputBytes the pruned checkpoint
 * @param temporaryBytes hidden states that are on the disk until the end
 */
public record StreamingEstimate(
    Duration time, long memoryBytes, long layerBytes, long outputBytes, long temporaryBytes) {}
