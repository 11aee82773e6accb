package io.winnow.examples;

import ai.djl.Device;
import ai.djl.Model;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The whole way in one file: load a checkpoint, keep the experts that a text needs, save what is
 * left, load it again and let it write. Run a second time it begins with what was saved.
 */
public final class Quickstart {
  private Quickstart() {}

  /** Prunes the small model of this project; run it from the project's folder. */
  public static void main(String[] args) {
    Path demo = Path.of("examples", "demo");
    System.out.println(
        run(
            demo.resolve("tiny-mixtral"),
            demo.resolve("text").resolve("code.calib.txt"),
            Path.of("tiny-mixtral-r6"),
            "return isinstance("));
  }

  /**
   * Prunes a model to six experts a layer, and continues a prompt with it.
   *
   * @param source a Hugging Face checkpoint folder
   * @param text what the model is used for
   * @param target the folder of the smaller model, which stock loaders read too
   * @return the prompt and what the smaller model makes of it
   */
  public static String run(Path source, Path text, Path target, String prompt) {
    if (!Files.exists(target)) {
      try (Model model = MoeModels.load(source, Device.cpu());
          TextTokenizer tokenizer = TextTokenizer.open(source)) {
        Calibration calibration = Calibration.ofText(tokenizer, text, 64, 256);
        PruningReport report = ExpertPruner.prune(model, calibration, 6);
        report
            .layers()
            .forEach(one -> System.out.println("layer " + one.layer() + " lost " + one.dropped()));
        MoeModels.save(model, target);
      }
    }
    try (Model smaller = MoeModels.load(target, Device.cpu());
        TextTokenizer tokenizer = TextTokenizer.open(target)) {
      Generator generator = Generator.of(smaller).withTokenizer(tokenizer);
      return prompt + generator.generate(prompt, GenerationConfig.greedy(48)).text().orElseThrow();
    }
  }
}
