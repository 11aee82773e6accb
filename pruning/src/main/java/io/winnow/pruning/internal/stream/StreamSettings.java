package io.winnow.pruning.internal.stream;

import ai.djl.Device;
import ai.djl.util.Progress;
import java.util.List;
import java.util.concurrent.ExecutorService;
import org.jspecify.annotations.Nullable;

/**
 * What a run on disk computes with.
 *
 * @param devices over which batches are spread; the first computes the embeddings
 * @param executor runs what goes on beside the caller's thread; null for nothing
 * @param progress is told of every batch, if it is there
 */
public record StreamSettings(
    List<Device> devices, @Nullable ExecutorService executor, @Nullable Progress progress) {}
