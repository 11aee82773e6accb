package io.winnow.pruning;

import ai.djl.util.Progress;
import io.winnow.core.PredictionLayers;
import java.util.concurrent.ExecutorService;
import org.jspecify.annotations.Nullable;

/**
 * How to prune, wherever the model is.
 *
 * @param measureLoss whether the loss is measured for methods that do not need it themselves
 * @param sequencesPerGroup the sequences of one group of the loss; 0 for all tokens in one group
 * @param batchTokens about how many tokens run through the model at a time; null for as many as are
 *     usual
 * @param seed of everything random
 * @param candidates of a token whose inner products are kept; 0 for as many as are needed
 * @param calibrationMemory the most bytes of the Java heap for the tables
 * @param predictionLayers what becomes of those of a checkpoint on disk
 * @param progress is told of every batch, if it is there
 * @param executor runs what goes on beside the caller's thread; null for nothing
 */
record PruningOptions(
    PruningMethod method,
    boolean measureLoss,
    int sequencesPerGroup,
    @Nullable Integer batchTokens,
    long seed,
    int candidates,
    long calibrationMemory,
    PredictionLayers predictionLayers,
    @Nullable Progress progress,
    @Nullable ExecutorService executor) {}
