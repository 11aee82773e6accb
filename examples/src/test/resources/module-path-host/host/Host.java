package host;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.Generator;
import io.winnow.core.model.MoeModels;
import io.winnow.core.train.FineTuning;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningReport;
import io.winnow.skipping.SkipPolicy;
import java.nio.file.Path;

/** Does with a checkpoint folder what hosts do, wherever the library loads files or reflects. */
public final class Host {
  private Host() {}

  /** Takes the folder, a text and a folder to write into. */
  public static void main(String[] args) throws Exception {
    Path folder = Path.of(args[0]);
    Path out = Path.of(args[2]);
    try (Model model = MoeModels.loader(folder).optDevice(Device.cpu()).optDataType(DataType.FLOAT32).load();
        TextTokenizer tokenizer = TextTokenizer.open(folder)) {
      Calibration calibration = Calibration.ofText(tokenizer, Path.of(args[1]), 4, 64);
      PruningReport report = ExpertPruner.prune(model, calibration, 6);
      report.write(out.resolve("report.json"));
      System.out.println("layers " + report.layers().size());
      SkipPolicy.calibrate(model, calibration).write(out.resolve("policy.json"));
      TokenSequences tokens = TokenSequences.of(new long[][] {tokenizer.encode("def test_one(self):")});
      FineTuning.builder().optSteps(1).optBatchSize(1).optCheckpoints(out.resolve("steps")).build()
          .run(model, tokens, tokens);
      FineTuning.Result again =
          FineTuning.builder().optSteps(1).optBatchSize(1).optCheckpoints(out.resolve("steps")).build()
              .run(model, tokens, tokens);
      System.out.println("steps " + again.step());
      MoeModels.save(model, out.resolve("pruned"));
      System.out.println("tokens " + Generator.of(model).generate(tokenizer.encode("def "), 4).length);
    }
    for (Class<?> type : new Class<?>[] {MoeModels.class, ExpertPruner.class, SkipPolicy.class, Model.class}) {
      System.out.println("module " + type.getModule().getName());
    }
  }
}
