package io.winnow.examples.options;

import io.winnow.core.PredictionLayers;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** {@code --mtp}: what becomes of prediction layers in a folder with fewer experts. */
public final class PredictionOptions {
  /** As the command line has it. */
  private enum Treatment {
    prune,
    drop
  }

  @Option(
      names = "--mtp",
      paramLabel = "prune|drop",
      defaultValue = "prune",
      description =
          "prediction (MTP) layers keep the experts of the last layer, or are left out (default:"
              + " ${DEFAULT-VALUE})")
  private Treatment treatment;

  /** Returns what is wanted. */
  public PredictionLayers treatment() {
    return treatment == Treatment.drop ? PredictionLayers.DROP : PredictionLayers.PRUNE;
  }

  /** Says what became of them in a folder that was written, if there were any. */
  public static void print(Path folder) {
    MoeModels.predictionLayers(folder)
        .ifPresent(
            written ->
                System.out.println(
                    written == PredictionLayers.DROP
                        ? "Prediction (MTP) layers were left out, and config.json counts none"
                        : "Prediction (MTP) layers keep the experts of the last layer"));
  }
}
