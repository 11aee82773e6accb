package io.winnow.examples;

import ai.djl.Device;
import ai.djl.Model;
import io.winnow.core.MoeModel;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.ExpertPruner;
import java.nio.file.Path;
import java.util.List;

/**
 * How a service makes its model smaller when it starts, by documents that it has in memory, such as
 * yesterday's requests: nothing is written, and the checkpoint stays as it is.
 */
public final class PruneAtStartup {
  /** So long that short documents together make at least one sequence. */
  private static final int SEQUENCE_TOKENS = 256;

  private static final int MOST_SEQUENCES = 64;

  private PruneAtStartup() {}

  /**
   * Loads a model and removes the experts that the documents need least.
   *
   * @param folder a Hugging Face checkpoint folder with its tokenizer
   * @param documents what the model is used for, {@code 256} tokens or more altogether
   * @param retained experts to keep in every layer, at least as many as a token selects
   * @return the smaller model, which the caller closes; many threads may generate with it
   * @throws io.winnow.core.InvalidInputException if the documents are too few, or the number does
   *     not fit the model
   */
  public static Model load(Path folder, List<String> documents, int retained) {
    Model model = MoeModels.load(folder, Device.cpu());
    boolean pruned = false;
    try (TextTokenizer tokenizer = TextTokenizer.open(folder)) {
      Calibration calibration =
          Calibration.builder()
              .setDocuments(documents)
              .optTokenizer(tokenizer)
              .optSequences(MOST_SEQUENCES)
              .optLength(Math.min(SEQUENCE_TOKENS, MoeModel.of(model).maxPositions()))
              .build();
      ExpertPruner.prune(model, calibration, retained);
      pruned = true;
      return model;
    } finally {
      if (!pruned) {
        model.close();
      }
    }
  }
}
