package io.winnow.pruning.evolve;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.Provenance;
import io.winnow.pruning.PruningPlan;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.SubsetLoss;
import io.winnow.pruning.Tables;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Individuals, their space, and a model that runs with them. */
class IndividualTest {
  private static final Provenance PROVENANCE = new Provenance("naee", "sha256:1", 3, "sha256:2");
  private static final Individual PRUNING =
      new Individual(List.of(ExpertMerge.ofRetained(3, 0, 2), ExpertMerge.ofRetained(3, 1, 2)), 1);
  private static final Individual MERGING =
      new Individual(
          List.of(
              ExpertMerge.ofRetained(3, 0, 2),
              ExpertMerge.of(
                  new double[][] {{0.1, 1 / 3.0, -0.0}, {1e-300, 2, 3}},
                  new double[][] {{Math.PI, 0, 0}, {0, -1.5e17, 1}})),
          2);

  @Test
  void jsonKeepsEveryBit() {
    for (Individual individual : List.of(PRUNING, MERGING)) {
      Individual read = Individual.fromJson(individual.toJson());
      assertThat(read.digest()).isEqualTo(individual.digest());
      assertThat(read.toJson()).isEqualTo(individual.toJson());
    }
    assertThat(PRUNING.toJson())
        .isEqualTo(
            "{\"top_k\":1,\"experts\":3,\"groups\":[{\"retained\":[0,2]},{\"retained\":[1,2]}]}");
  }

  @Test
  void theDigestTellsIndividualsApart() {
    assertThat(PRUNING.digest()).matches("sha256:[0-9a-f]{64}");
    assertThat(PRUNING.digest())
        .isNotEqualTo(new Individual(PRUNING.groups(), 2).digest())
        .isNotEqualTo(
            new Individual(List.of(PRUNING.groups().get(1), PRUNING.groups().get(0)), 1).digest());
  }

  @Test
  void individualsTravel() throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(MERGING);
      out.writeObject(FakeTask.SPACE);
    }
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      assertThat(in.readObject()).isEqualTo(MERGING);
      assertThat(in.readObject()).isEqualTo(FakeTask.SPACE);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{}",
        "[]",
        "{",
        "",
        "{\"top_k\":1,\"experts\":3,\"groups\":[]}",
        "{\"top_k\":1,\"experts\":3,\"groups\":[{\"retained\":[3]}]}",
        "{\"top_k\":1,\"experts\":3,\"groups\":[{\"router_mapping\":[[1]]}]}",
        "{\"top_k\":2,\"experts\":3,\"groups\":[{\"retained\":[1]}]}",
        "{\"top_k\":1,\"experts\":\"x\",\"groups\":[{\"retained\":[1]}]}"
      })
  void otherJsonIsRefused(String json) {
    assertThatThrownBy(() -> Individual.fromJson(json)).isInstanceOf(InvalidInputException.class);
  }

  @Test
  void groupsMustHaveOneShape() {
    assertThatThrownBy(
            () ->
                new Individual(
                    List.of(ExpertMerge.ofRetained(3, 0), ExpertMerge.ofRetained(3, 0, 1)), 1))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("[1, 3] and [2, 3]");
  }

  @Test
  void aPlanBecomesAnIndividualAndBack() {
    SearchSpace space = new SearchSpace(List.of(0, 2), 2, 3, 2, 1);
    PruningPlan plan = PruningPlan.of(Map.of(0, List.of(0, 2), 2, List.of(1, 2)), PROVENANCE);
    assertThat(space.individual(plan)).isEqualTo(PRUNING);
    assertThat(space.plan(PRUNING, PROVENANCE)).isEqualTo(plan);
    assertThatThrownBy(() -> new SearchSpace(List.of(0, 2), 2, 3, 2, 2).plan(MERGING, PROVENANCE))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("merges experts");
  }

  @Test
  void aPlanThatDiffersInsideAGroupIsRefused() {
    SearchSpace space = new SearchSpace(List.of(0, 2), 1, 3, 2, 1);
    assertThatThrownBy(
            () ->
                space.individual(
                    PruningPlan.of(Map.of(0, List.of(0, 2), 2, List.of(1, 2)), PROVENANCE)))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("[1, 2] in layer 2")
        .hasMessageContaining("2 groups");
    assertThat(
            space.individual(
                PruningPlan.of(Map.of(0, List.of(0, 2), 2, List.of(0, 2)), PROVENANCE)))
        .isEqualTo(new Individual(List.of(ExpertMerge.ofRetained(3, 0, 2)), 1));
  }

  @Test
  void theLossesOfAReportChooseForAllLayersOfAGroup() {
    PruningReport report =
        report(
            layer(0, 10, loss(1, 2), loss(2, 3), loss(0, 9)), // Dropping 1 costs 0.2, 2 costs 0.3.
            layer(2, 2, loss(0, 1), loss(2, 1.5), loss(1, 1.8))); // 0.75 and 0.9.
    assertThat(new SearchSpace(List.of(0, 2), 2, 3, 2, 1).individual(report))
        .hasValue(
            new Individual(
                List.of(ExpertMerge.ofRetained(3, 0, 2), ExpertMerge.ofRetained(3, 1, 2)), 1));
    assertThat(new SearchSpace(List.of(0, 2), 1, 3, 2, 1).individual(report))
        .hasValue(new Individual(List.of(ExpertMerge.ofRetained(3, 0, 1)), 1));
  }

  @Test
  void aReportWithoutACommonChoiceGivesNone() {
    PruningReport report = report(layer(0, 10, loss(1, 2)), layer(2, 2, loss(0, 1)));
    assertThat(new SearchSpace(List.of(0, 2), 1, 3, 2, 1).individual(report)).isEmpty();
    assertThatThrownBy(() -> new SearchSpace(List.of(0, 3), 1, 3, 2, 1).individual(report))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("nothing about layer 3");
    assertThatThrownBy(() -> new SearchSpace(List.of(0, 2), 2, 3, 1, 1).individual(report))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("retains 2 experts, the search 1");
  }

  private static PruningReport report(PruningReport.Layer... layers) {
    return Tables.report(2, PROVENANCE, layers);
  }

  private static PruningReport.Layer layer(int number, double norm, SubsetLoss... losses) {
    List<Integer> dropped = losses[0].dropped();
    return Tables.layer(
        number,
        IntStream.range(0, 3).filter(expert -> !dropped.contains(expert)).boxed().toList(),
        losses[0].loss() / norm,
        losses);
  }

  private static SubsetLoss loss(int dropped, double loss) {
    return new SubsetLoss(List.of(dropped), loss);
  }

  @Test
  void aPlanForOtherLayersOrSizesIsRefused() {
    SearchSpace space = new SearchSpace(List.of(0, 2), 2, 3, 2, 1);
    assertThatThrownBy(() -> space.individual(PruningPlan.of(Map.of(0, List.of(0, 2)), PROVENANCE)))
        .hasMessageContaining("for the layers [0]");
    assertThatThrownBy(
            () ->
                space.individual(PruningPlan.of(Map.of(0, List.of(0), 2, List.of(1)), PROVENANCE)))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("retains 1 experts in layer 0");
  }

  @Test
  void groupsDivideLayersByDepth() {
    SearchSpace space = SearchSpace.of(new FakeMergeableModel(6, 8, 2), 4, 1).withGroups(4);
    assertThat(space.layers()).containsExactly(0, 2, 4, 6, 8, 10);
    assertThat(IntStream.range(0, 6).map(space::group)).containsExactly(0, 0, 1, 2, 2, 3);
    assertThatThrownBy(() -> space.withGroups(7)).hasMessageContaining("use 1 to 6");
    assertThatThrownBy(() -> SearchSpace.of(new FakeMergeableModel(6, 8, 2), 4, 5))
        .hasMessageContaining("use 1 to 4");
    assertThatThrownBy(() -> SearchSpace.of(new FakeMergeableModel(2, 8, 2), 1))
        .isInstanceOf(InvalidInputException.class);
  }

  @Test
  void everyLayerHasTheMergeOfItsGroup() {
    SearchSpace space = new SearchSpace(List.of(1, 2, 5, 7), 2, 3, 2, 1);
    ExpertMerge deep = ExpertMerge.ofRetained(3, 0, 1);
    Individual individual = new Individual(List.of(PRUNING.groups().get(0), deep), 1);
    ExpertMerge shallow = PRUNING.groups().get(0);
    assertThat(space.merges(individual))
        .containsExactlyEntriesOf(new TreeMap<>(Map.of(1, shallow, 2, shallow, 5, deep, 7, deep)));
    assertThatThrownBy(() -> space.withGroups(4).merges(individual))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("has 2 groups");
  }

  @Test
  void onlyLayersWhoseGroupChangedAreMergedAnew() {
    FakeMergeableModel model = new FakeMergeableModel(4, 3, 1);
    SearchSpace space = SearchSpace.of(model, 2).withGroups(2);
    Individual other =
        new Individual(List.of(PRUNING.groups().get(0), ExpertMerge.ofRetained(3, 0, 1)), 1);
    try (MergedModel merged = MergedModel.of(model, space)) {
      merged.apply(PRUNING);
      assertThat(model.layers).extracting(layer -> layer.applied).containsExactly(1, 1, 1, 1);
      merged.apply(other);
      merged.apply(other);
      assertThat(model.layers).extracting(layer -> layer.applied).containsExactly(1, 1, 2, 2);
      assertThat(model.layers.get(3).merge).isEqualTo(other.groups().get(1));
      assertThat(model.layers.get(0).topK).isEqualTo(1);
      assertThatThrownBy(() -> merged.apply(MERGING)).isInstanceOf(InvalidInputException.class);
      assertThat(model.layers.get(3).merge).isEqualTo(other.groups().get(1));
    }
    assertThat(model.layers).allSatisfy(layer -> assertThat(layer.merge).isNull());
  }

  @Test
  void aLayerThatFailedIsMergedAgain() {
    FakeMergeableModel model = new FakeMergeableModel(2, 3, 1);
    MergedModel merged = MergedModel.of(model, SearchSpace.of(model, 2));
    model.layers.get(1).broken = true;
    assertThatThrownBy(() -> merged.apply(PRUNING)).hasMessage("broken");
    model.layers.get(1).broken = false;
    merged.apply(PRUNING);
    assertThat(model.layers.get(1).merge).isEqualTo(PRUNING.groups().get(1));
  }
}
